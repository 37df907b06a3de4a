// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/autocast_mode.h>

namespace atlas::engine {

/// bfloat16 autocast of this thread while alive; nothing when `on` is false.
class Autocast {
  public:
    Autocast(bool on, at::DeviceType device) : on_(on), device_(device) {
        if (!on_) return;
        at::autocast::set_autocast_enabled(device_, true);
        at::autocast::set_autocast_dtype(device_, at::kBFloat16);
        at::autocast::increment_nesting();
    }
    ~Autocast() {
        if (!on_) return;
        if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
        at::autocast::set_autocast_enabled(device_, false);
    }
    Autocast(const Autocast&) = delete;
    Autocast& operator=(const Autocast&) = delete;

  private:
    bool on_;
    at::DeviceType device_;
};

}  // namespace atlas::engine
