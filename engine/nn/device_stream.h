// SPDX-License-Identifier: Apache-2.0
// Streams of a device by LibTorch's device-independent interface. A guard of the device must be
// there: LibTorch with CUDA has that of a GPU.
#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>

namespace atlas::engine {

/// The calling thread's stream of `device`, whatever its own device is.
inline c10::Stream currentStream(const c10::Device& device) {
    return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

/// Another stream of the device is the thread's one there while alive.
class OtherStream {
  public:
    explicit OtherStream(const c10::Device& device)
        : guard_(device.type()),
          before_(guard_.exchangeStream(guard_.getStreamFromGlobalPool(device))) {}
    ~OtherStream() { guard_.exchangeStream(before_); }
    OtherStream(const OtherStream&) = delete;
    OtherStream& operator=(const OtherStream&) = delete;

  private:
    c10::impl::VirtualGuardImpl guard_;
    c10::Stream before_;
};

}  // namespace atlas::engine
