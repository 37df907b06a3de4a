// SPDX-License-Identifier: Apache-2.0
// A forward pass recorded once and replayed: on a GPU the later stages' grids are so small that
// launching their kernels one by one takes longer than running them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// Records `work` (CUDA graphs, by LibTorch's device-independent interface) for each shape of input
/// after it has run twice, and replays it from then on. The first replay is compared with a plain
/// run; if it differs, or recording fails, everything is run plainly from then on. On the processor
/// it always is. One thread at a time.
class DeviceGraph {
  public:
    /// Must do the same operations for inputs of the same shape, and nothing that needs the host.
    using Work = std::function<Trace(const at::Tensor& input)>;

    explicit DeviceGraph(Work work);
    ~DeviceGraph();
    Trace run(const at::Tensor& input);
    /// Empty, or why nothing is recorded any more.
    const std::string& refusal() const { return refusal_; }

  private:
    struct Recording;
    Trace replay(Recording& recording, const at::Tensor& input);
    void record(Recording& recording, const at::Tensor& input);

    Work work_;
    std::string refusal_;
    std::map<std::vector<int64_t>, std::unique_ptr<Recording>> recordings_;
};

}  // namespace atlas::engine
