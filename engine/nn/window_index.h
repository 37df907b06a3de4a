// SPDX-License-Identifier: Apache-2.0
// Which coarse window each fine one sees, and the other way round, as the plug-in's interface wants
// it (engine/kernels/msa.h): made once for each layout, so that nothing is sent to a device in the
// steady state.
#pragma once

#include <list>
#include <mutex>
#include <string>
#include <tuple>

#include "engine/nn/segmented_attention.h"

namespace atlas::engine {

/// On one device.
struct WindowIndex {
    at::Tensor keyWindow;    ///< int32 [fine windows]
    at::Tensor queryStart;   ///< int32 [coarse windows + 1] into queryWindow
    at::Tensor queryWindow;  ///< int32 [fine windows]
};

/// The other way round from `keyWindow` (int32 [fine windows], numbers below `keyWindows`).
WindowIndex windowIndexOf(const at::Tensor& keyWindow, int64_t keyWindows);

/// The indices that were used last. Those handed out while a DeviceGraph records are kept with the
/// recording: its replays read their addresses, whatever is dropped here. Thread-safe.
class WindowIndexCache {
  public:
    explicit WindowIndexCache(size_t most) : most_(most) {}
    WindowIndex get(const WindowGroups& groups, const at::Device& device);
    size_t size() const;

    /// The program's own. It is never destroyed: at the program's end the driver may be gone before
    /// a destructor would give its tensors back.
    static WindowIndexCache& shared();

  private:
    using Key = std::tuple<int64_t, int64_t, int64_t, int, std::string>;

    size_t most_;
    mutable std::mutex mutex_;
    std::list<std::pair<Key, WindowIndex>> entries_;  // the one used last comes first
};

}  // namespace atlas::engine
