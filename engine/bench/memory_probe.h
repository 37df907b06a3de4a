// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fstream>

#include "engine/nn/machine.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace atlas::engine {

/// Largest resident memory since the last reset, above what it was then. Linux; 0 elsewhere.
class MemoryProbe {
  public:
    MemoryProbe() {
#if defined(__GLIBC__)
        malloc_trim(0);
#endif
        std::ofstream("/proc/self/clear_refs") << "5";
        before_ = processMemory("VmRSS");
    }
    int64_t peak() const {
        const int64_t most = processMemory("VmHWM");
        return most > before_ ? most - before_ : 0;
    }

  private:
    int64_t before_ = 0;
};

}  // namespace atlas::engine
