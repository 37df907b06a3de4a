// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>

namespace atlas::test {

/// LibTorch has so many threads while this lives.
class TorchThreads {
  public:
    explicit TorchThreads(int count) : before_(at::get_num_threads()) {
        at::set_num_threads(count);
    }
    ~TorchThreads() { at::set_num_threads(before_); }
    TorchThreads(const TorchThreads&) = delete;
    TorchThreads& operator=(const TorchThreads&) = delete;

  private:
    int before_;
};

}  // namespace atlas::test
