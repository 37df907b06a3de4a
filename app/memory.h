// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#if defined(__GLIBC__) || __has_include(<malloc.h>)
#include <malloc.h>
#endif

namespace atlas::app {

/// Tensors of tens of MiB come and go; giving each back to the system costs more in page faults
/// than the arithmetic. Keeps freed blocks below 32 MiB.
inline void keepLargeBlocks() {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    mallopt(M_TOP_PAD, 64 << 20);
#endif
}

/// Bytes of memory that the machine has; 0 where that is not known.
inline int64_t physicalMemory() {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) *
           static_cast<int64_t>(sysconf(_SC_PAGESIZE));
#else
    return 0;
#endif
}

}  // namespace atlas::app
