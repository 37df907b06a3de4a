// SPDX-License-Identifier: Apache-2.0
// Stand-ins for what only a GPU has: LibTorch's guard of CUDA devices, and graphs whose replays use
// the raw addresses of what was recorded.
#pragma once

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "engine/nn/device_graph.h"

namespace atlas::engine::test {

/// While alive, the process has two CUDA devices that do nothing; the thread's own is the first.
class FakeGpus {
  public:
    FakeGpus() : before_(registry().exchange(&guard_)) {}
    ~FakeGpus() { registry().store(before_); }
    FakeGpus(const FakeGpus&) = delete;
    FakeGpus& operator=(const FakeGpus&) = delete;

    int device() const { return guard_.current; }
    int64_t stream(int device) const { return guard_.streams[static_cast<size_t>(device)]; }
    int waits(int device) const { return guard_.waits[static_cast<size_t>(device)]; }

    /// cudaStream_t of a stream.
    static void* handle(int device, int64_t stream) {
        return reinterpret_cast<void*>(1000 * (device + 1) + stream);
    }

  private:
    using Interface = c10::impl::DeviceGuardImplInterface;
    struct Guard final : Interface {
        mutable int current = 0;
        mutable int64_t streams[2] = {0, 0};
        mutable int waits[2] = {0, 0};

        static size_t of(c10::Device d) { return static_cast<size_t>(d.index()); }
        c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
        c10::Device exchangeDevice(c10::Device d) const override {
            const c10::Device before = getDevice();
            current = d.index();
            return before;
        }
        c10::Device getDevice() const override {
            return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(current)};
        }
        void setDevice(c10::Device d) const override { current = d.index(); }
        void uncheckedSetDevice(c10::Device d) const noexcept override { current = d.index(); }
        c10::Stream getStream(c10::Device d) const override {
            return c10::Stream(c10::Stream::UNSAFE, d, streams[of(d)]);
        }
        c10::Stream getStreamFromGlobalPool(c10::Device d, bool) const override {
            return c10::Stream(c10::Stream::UNSAFE, d, 7);
        }
        c10::Stream exchangeStream(c10::Stream s) const override {
            const c10::Stream before = getStream(s.device());
            streams[of(s.device())] = s.id();
            return before;
        }
        // NOLINTNEXTLINE: an override in newer versions of LibTorch alone
        void* getStreamNativeHandle(const c10::Stream s) const {
            return handle(s.device_index(), s.id());
        }
        c10::DeviceIndex deviceCount() const noexcept override { return 2; }
        void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
        void block(void*, const c10::Stream&) const override {}
        bool queryEvent(void*) const override { return true; }
        void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
        void synchronizeDevice(const c10::DeviceIndex d) const override {
            ++waits[static_cast<size_t>(d)];
        }
    };

    static std::atomic<const Interface*>& registry() {
        return c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
    }

    Guard guard_;
    const Interface* before_;
};

/// Records what calls enqueue() while `work` runs; replays run just that again.
class FakeRecorder : public WorkRecorder {
  public:
    using Step = std::function<void()>;

    /// Does `step` now; where something is recorded, a replay does it again.
    static void enqueue(const Step& step) {
        step();
        if (open) open->push_back(step);
    }

    bool records(const at::Device&) const override { return true; }
    std::unique_ptr<RecordedWork> record(const at::Device&,
                                         const std::function<void()>& work) override {
        ++recordings;
        auto recorded = std::make_unique<Steps>(*this);
        open = &recorded->steps;
        try {
            work();
        } catch (...) {
            open = nullptr;
            throw;
        }
        open = nullptr;
        return recorded;
    }
    void wait(const at::Device&) override { ++waits; }

    int recordings = 0, replays = 0, waits = 0;
    std::function<void()> atReplay;

  private:
    struct Steps : RecordedWork {
        explicit Steps(FakeRecorder& by) : recorder(by) {}
        void replay() override {
            ++recorder.replays;
            for (const auto& step : steps) step();
            if (recorder.atReplay) recorder.atReplay();
        }
        FakeRecorder& recorder;
        std::vector<Step> steps;
    };
    static inline thread_local std::vector<Step>* open = nullptr;
};

}  // namespace atlas::engine::test
