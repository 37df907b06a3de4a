// SPDX-License-Identifier: Apache-2.0
// A forward pass recorded once and replayed: on a GPU the later stages' grids are so small that
// launching their kernels one by one takes longer than running them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// Work that was recorded on a device.
class RecordedWork {
  public:
    virtual ~RecordedWork() = default;
    /// Enqueues it on the calling thread's stream of that device.
    virtual void replay() = 0;
};

/// Records work on a device: CUDA graphs by LibTorch's device-independent interface, or a test's
/// stand-in for them.
class WorkRecorder {
  public:
    virtual ~WorkRecorder() = default;
    virtual bool records(const at::Device& device) const = 0;
    /// Calls `work` once to record what it enqueues. Throws what `work` throws, or an
    /// std::exception with the cause.
    virtual std::unique_ptr<RecordedWork> record(const at::Device& device,
                                                 const std::function<void()>& work) = 0;
    /// Returns once the device has done all that it was given.
    virtual void wait(const at::Device& device) = 0;
};

/// CUDA graphs; the processor is not recorded.
std::shared_ptr<WorkRecorder> deviceRecorder();

/// Records `work` for each shape of input after it has run twice, and replays it from then on. The
/// first replay is compared with a plain run; if it differs, or recording fails, everything is run
/// plainly from then on, and a notice says why. On the processor it always is. One thread at a
/// time.
class DeviceGraph {
  public:
    /// Must do the same operations for inputs of the same shape, and nothing that needs the host.
    using Work = std::function<Trace(const at::Tensor& input)>;

    explicit DeviceGraph(Work work, std::shared_ptr<WorkRecorder> recorder = deviceRecorder());
    ~DeviceGraph();
    Trace run(const at::Tensor& input);
    /// Empty, or why nothing is recorded any more.
    const std::string& refusal() const { return refusal_; }

  private:
    struct Recording;
    using Key = std::tuple<std::string, at::ScalarType, std::vector<int64_t>>;

    Trace replay(Recording& recording, const at::Tensor& input);
    void record(Recording& recording, const at::Tensor& input);
    void drop();

    Work work_;
    std::shared_ptr<WorkRecorder> recorder_;
    std::string refusal_;
    int recorded_ = 0;
    std::map<Key, std::unique_ptr<Recording>> recordings_;
};

/// While a DeviceGraph records on the calling thread: keeps `tensor`, whose address the recorded
/// work reads, as long as the recording; true. Otherwise nothing; false. For tensors that were made
/// before and that somebody else may give back: caches that drop their entries.
bool keepWithRecording(const at::Tensor& tensor);

}  // namespace atlas::engine
