// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device_graph.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/allclose.h>

#include <mutex>
#include <utility>

#include "engine/nn/graph_capture.h"
#include "engine/nn/notice.h"

namespace atlas::engine {
namespace {

constexpr int kWarmUps = 2;                // fill caches of indices, positions and algorithms
constexpr int kMostRecordings = 4;         // each keeps the memory of a forward pass
constexpr double kReplayTolerance = 1e-3;  // of the peak; the same kernels ran

/// What the recording of this thread keeps; nullptr: none is made.
thread_local std::vector<at::Tensor>* kept = nullptr;

class Keeping {
  public:
    explicit Keeping(std::vector<at::Tensor>& tensors) : before_(std::exchange(kept, &tensors)) {}
    ~Keeping() { kept = before_; }
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;

  private:
    std::vector<at::Tensor>* before_;
};

bool same(const Trace& a, const Trace& b) {
    for (const auto& [name, tensor] : a) {
        const at::Tensor x = tensor.to(at::kFloat), y = b.at(name).to(at::kFloat);
        const double peak = std::max(1e-6, y.abs().max().item<double>());
        if (!at::allclose(x, y, 0, kReplayTolerance * peak)) return false;
    }
    return true;
}

using Graph = at::accelerator::Graph;

class RecordedGraph : public RecordedWork {
  public:
    RecordedGraph(const at::Device& device, std::unique_ptr<Graph> graph)
        : device_(device), graph_(std::move(graph)) {}
    void replay() override {
        const c10::DeviceGuard on(device_);
        graph_->replay();
    }

  private:
    at::Device device_;
    std::unique_ptr<Graph> graph_;
};

/// LibTorch's allocator goes on asking a graph whose capture could not be ended, so it is kept to
/// the end of the program.
void abandon(std::unique_ptr<Graph> graph) {
    static std::mutex mutex;
    static auto& all = *new std::vector<std::unique_ptr<Graph>>;
    const std::lock_guard lock(mutex);
    all.push_back(std::move(graph));
}

class GraphRecorder : public WorkRecorder {
  public:
    bool records(const at::Device& device) const override { return device.is_cuda(); }

    std::unique_ptr<RecordedWork> record(const at::Device& device,
                                         const std::function<void()>& work) override {
        const c10::DeviceGuard on(device);
        auto graph = std::make_unique<Graph>();
        bool ended = false;
        try {
            captureOn(*graph, device, work, ended);
        } catch (...) {
            if (!ended) abandon(std::move(graph));
            throw;
        }
        return std::make_unique<RecordedGraph>(device, std::move(graph));
    }

    void wait(const at::Device& device) override {
        c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
    }
};

}  // namespace

std::shared_ptr<WorkRecorder> deviceRecorder() {
    return std::make_shared<GraphRecorder>();
}

bool keepWithRecording(const at::Tensor& tensor) {
    if (!kept) return false;
    if (tensor.defined()) kept->push_back(tensor);
    return true;
}

struct DeviceGraph::Recording {
    int runs = 0;
    std::vector<at::Tensor> kept;  // goes after the work that reads it
    at::Tensor input;
    Trace output;
    std::unique_ptr<RecordedWork> work;
};

DeviceGraph::DeviceGraph(Work work, std::shared_ptr<WorkRecorder> recorder)
    : work_(std::move(work)), recorder_(std::move(recorder)) {}

DeviceGraph::~DeviceGraph() {
    try {
        drop();
    } catch (const std::exception& error) {
        notice(std::string("a device did not end its recorded work: ") + error.what());
    }
}

/// The last replay may still read what goes with the recordings.
void DeviceGraph::drop() {
    const auto gone = std::exchange(recordings_, {});
    for (const auto& [key, recording] : gone)
        if (recording->work) recorder_->wait(recording->input.device());
}

Trace DeviceGraph::run(const at::Tensor& input) {
    if (!recorder_->records(input.device()) || !refusal_.empty()) return work_(input);
    const Key key{input.device().str(), input.scalar_type(), input.sizes().vec()};
    auto& recording = recordings_[key];  // of a shape that came once, a count alone
    if (!recording) recording = std::make_unique<Recording>();
    if (recording->work) return replay(*recording, input);
    if (recording->runs++ < kWarmUps || recorded_ >= kMostRecordings) return work_(input);
    Trace plain = work_(input);
    try {
        record(*recording, input);
        if (!same(replay(*recording, input), plain)) refusal_ = "a replay gave other numbers";
    } catch (const std::exception& error) {
        refusal_ = error.what();
    }
    if (!refusal_.empty()) {
        notice("forward passes are not recorded and replayed on " + input.device().str() +
               ", which costs time alone: " + refusal_);
        drop();
    }
    return plain;
}

Trace DeviceGraph::replay(Recording& recording, const at::Tensor& input) {
    recording.input.copy_(input, /*non_blocking=*/true);
    recording.work->replay();
    Trace result;  // copies: the next replay overwrites the outputs
    for (const auto& [name, tensor] : recording.output) result[name] = tensor.clone();
    return result;
}

void DeviceGraph::record(Recording& recording, const at::Tensor& input) {
    recording.input = input.clone();
    const Keeping keeping(recording.kept);
    recording.work =
        recorder_->record(input.device(), [&] { recording.output = work_(recording.input); });
    ++recorded_;
}

}  // namespace atlas::engine
