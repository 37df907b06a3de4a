// SPDX-License-Identifier: Apache-2.0
// Recorded forward passes without a GPU: graphs that use raw addresses when they are replayed, and
// devices that do nothing.
#include "engine/nn/device_graph.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "engine/kernels/msa_host.h"
#include "engine/nn/graph_capture.h"
#include "engine/nn/msa_call.h"
#include "engine/nn/window_index.h"
#include "tests/engine/nn/fake_gpu.h"
#include "tests/engine/nn/listener.h"

namespace atlas::engine {
namespace {

using test::FakeGpus;
using test::FakeRecorder;
using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

const at::Device kProcessor(at::kCPU);
constexpr WindowGroups kUp{1, 4, 2, WindowMapping::Nested};

/// The `n`-th of many layouts of windows.
WindowGroups layout(int64_t n) {
    return {n + 2, 2, 1, WindowMapping::Raster};
}

/// Layouts of other images come and go until a cache holds none of before.
void useManyOthers() {
    for (int64_t n = 0; n < 100; ++n) WindowIndexCache::shared().get(layout(n), kProcessor);
}

WeakTensor weak(const at::Tensor& tensor) {
    return WeakTensor(tensor.getIntrusivePtr());
}

// ---- Indices ----------------------------------------------------------------------------------

TEST(WindowIndexCache, DropsTheOneThatWasNotUsedForLongest) {
    WindowIndexCache cache(2);
    const WeakTensor a = weak(cache.get(layout(0), kProcessor).keyWindow),
                     b = weak(cache.get(layout(1), kProcessor).keyWindow);
    cache.get(layout(0), kProcessor);
    cache.get(layout(2), kProcessor);
    EXPECT_EQ(cache.size(), 2u);
    EXPECT_FALSE(a.expired()) << "it was used since";
    EXPECT_TRUE(b.expired());
}

TEST(WindowIndexCache, IsTheSameBothWays) {
    for (const auto& groups : {kUp, layout(1), WindowGroups{2, 6, 2, WindowMapping::Raster}}) {
        const WindowIndex index = WindowIndexCache(1).get(groups, kProcessor);
        const int64_t coarse = groups.batch * groups.coarseRows * groups.coarseRows;
        const WindowIndex again = windowIndexOf(index.keyWindow, coarse);
        EXPECT_TRUE(at::equal(index.queryStart, again.queryStart));
        EXPECT_TRUE(at::equal(index.queryWindow, again.queryWindow));
    }
}

WeakTensor* indexAtTheEnd = nullptr;

[[noreturn]] void endWithAnIndex() {
    // Functions that are registered first are called last: after the destructors of statics.
    std::atexit([] { std::_Exit(indexAtTheEnd->expired() ? 1 : 0); });
    indexAtTheEnd = new WeakTensor(weak(WindowIndexCache::shared().get(kUp, kProcessor).keyWindow));
    std::exit(2);
}

/// Then the driver may be gone, and a tensor of a GPU that is given back ends the program badly.
TEST(WindowIndexCacheDeathTest, GivesNoTensorBackWhileTheProgramEnds) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(endWithAnIndex(), testing::ExitedWithCode(0), "");
}

// ---- Recordings -------------------------------------------------------------------------------

/// Attention whose coarse windows are found through an index, as the plug-in does it: the recorded
/// work holds the addresses alone.
class RecordedAttention : public testing::Test {
  protected:
    /// The sums go to memory of their own in a replay: that of a GPU's graph holds all it made.
    Trace attend(const at::Tensor& q) {
        const MsaForwardCall call = [](const AtlasMsaProblem& p) {
            msaForwardHost(p);
            const auto rows = static_cast<size_t>(p.queryWindows * p.heads * p.queriesPerWindow);
            const auto sums = std::make_shared<std::vector<float>>(2 * rows);
            FakeRecorder::enqueue([p, sums, rows] {
                AtlasMsaProblem again = p;
                again.lse = sums->data();
                again.mass = sums->data() + rows;
                msaForwardHost(again);
            });
            return static_cast<const char*>(nullptr);
        };
        return {{"out", segmentedAttentionBy(call, q, {{k, v, {}, kUp}})->out}};
    }

    const at::NoGradGuard noGradient;
    const at::Tensor k = at::randn({4, 1, 5, 8}), v = at::randn({4, 1, 5, 8});
    const std::shared_ptr<FakeRecorder> recorder = std::make_shared<FakeRecorder>();
};

TEST_F(RecordedAttention, ReplaysWithTheIndicesThatItWasRecordedWith) {
    DeviceGraph graph([&](const at::Tensor& q) { return attend(q); }, recorder);
    std::unique_ptr<WeakTensor> index;
    for (int run = 0; run < 6; ++run) {
        if (run == 3) {
            index = std::make_unique<WeakTensor>(
                weak(WindowIndexCache::shared().get(kUp, kProcessor).keyWindow));
            useManyOthers();
            ASSERT_FALSE(index->expired()) << "a replay reads memory that was given back";
        }
        const at::Tensor q = at::randn({16, 1, 6, 8});
        EXPECT_TRUE(at::allclose(graph.run(q).at("out"), attend(q).at("out"), 0, 1e-6));
    }
    EXPECT_EQ(recorder->recordings, 1);
    EXPECT_EQ(recorder->replays, 4);
    EXPECT_TRUE(graph.refusal().empty()) << graph.refusal();
}

TEST(DeviceGraph, KeepsWhatItsWorkNeedsAndGivesItBackAfterwards) {
    const auto recorder = std::make_shared<FakeRecorder>();
    std::unique_ptr<WeakTensor> index;
    {
        DeviceGraph graph(
            [&](const at::Tensor& x) {
                const auto kept = WindowIndexCache::shared().get(kUp, kProcessor).queryStart;
                index = std::make_unique<WeakTensor>(weak(kept));
                return Trace{{"same", x.clone()}};
            },
            recorder);
        for (int run = 0; run < 3; ++run) graph.run(at::randn({3}));
        EXPECT_EQ(recorder->recordings, 1);
        useManyOthers();
        EXPECT_FALSE(index->expired());
        EXPECT_EQ(recorder->waits, 0);
    }
    EXPECT_EQ(recorder->waits, 1) << "the last replay may still read it";
    EXPECT_TRUE(index->expired());
    EXPECT_FALSE(keepWithRecording(at::randn({1}))) << "nothing is recorded now";
}

struct Refused {
    std::string refusal;
    std::vector<std::string> said;
    int runs = 0;
    Trace last;
};

/// Six runs of twice the input, of which the recording (the fourth call) or its replay is wrong.
Refused runBadly(const std::function<void(int call)>& atWork, const std::function<void()>& replay) {
    Refused result;
    test::Listener listener;
    const auto recorder = std::make_shared<FakeRecorder>();
    recorder->atReplay = replay;
    DeviceGraph graph(
        [&](const at::Tensor& x) {
            atWork(++result.runs);
            return Trace{{"twice", x * 2}};
        },
        recorder);
    for (int run = 0; run < 6; ++run) result.last = graph.run(at::full({2}, run));
    result.refusal = graph.refusal();
    result.said = listener.said;
    return result;
}

TEST(DeviceGraph, RunsPlainlyAfterARecordingFailedAndSaysWhy) {
    const Refused failed = runBadly(
        [](int call) {
            if (call == 4) throw std::runtime_error("operation not permitted when stream captures");
        },
        {});
    EXPECT_EQ(failed.refusal, "operation not permitted when stream captures");
    ASSERT_EQ(failed.said.size(), 1u);
    EXPECT_NE(failed.said[0].find(failed.refusal), std::string::npos);
    EXPECT_EQ(failed.last.at("twice").sum().item<int>(), 20);
    EXPECT_EQ(failed.runs, 7);
}

TEST(DeviceGraph, RunsPlainlyWhereAReplayGivesOtherNumbers) {
    at::Tensor recorded;  // the outputs of the recording
    const auto recorder = std::make_shared<FakeRecorder>();
    recorder->atReplay = [&] { recorded.add_(1); };
    DeviceGraph graph(
        [&](const at::Tensor& x) {
            recorded = x * 2;
            return Trace{{"twice", recorded}};
        },
        recorder);
    test::Listener listener;
    for (int run = 0; run < 4; ++run)
        EXPECT_EQ(graph.run(at::full({2}, run)).at("twice").sum().item<int>(), 4 * run);
    EXPECT_EQ(graph.refusal(), "a replay gave other numbers");
    EXPECT_EQ(recorder->waits, 1);
}

TEST(DeviceGraph, TypesAndDevicesAreRecordedApart) {
    const auto recorder = std::make_shared<FakeRecorder>();
    DeviceGraph graph([](const at::Tensor& x) { return Trace{{"same", x.clone()}}; }, recorder);
    for (int run = 0; run < 3; ++run)
        for (const auto type : {at::kFloat, at::kDouble})
            EXPECT_EQ(graph.run(at::full({2}, 0.1, type)).at("same").scalar_type(), type);
    EXPECT_EQ(recorder->recordings, 2);
}

TEST(DeviceGraph, ShapesThatComeOnceTakeNobodysPlace) {
    const auto recorder = std::make_shared<FakeRecorder>();
    DeviceGraph graph([](const at::Tensor& x) { return Trace{{"same", x.clone()}}; }, recorder);
    for (int64_t rest = 1; rest <= 6; ++rest) graph.run(at::randn({rest}));
    for (int run = 0; run < 5; ++run) graph.run(at::randn({16}));
    EXPECT_EQ(recorder->recordings, 1);
    for (int64_t size = 20; size < 30; ++size)
        for (int run = 0; run < 4; ++run) graph.run(at::randn({size}));
    EXPECT_EQ(recorder->recordings, 4) << "each keeps the memory of a forward pass";
}

// ---- Captures ---------------------------------------------------------------------------------

enum class Mode { Default, Global, ThreadLocal, Relaxed };

/// As at::accelerator::Graph, whose calls concern the thread's device and that device's stream.
struct FakeGraph {
    explicit FakeGraph(const FakeGpus& on) : gpus(on) {}
    void capture_begin(std::pair<uint64_t, uint64_t>, Mode with) {
        mode = with;
        device = gpus.device();
        stream = gpus.stream(device);
    }
    void capture_end() {
        ++ends;
        if (failsAtEnd) throw std::runtime_error("capture was invalidated");
    }
    const FakeGpus& gpus;
    Mode mode = Mode::Default;
    int device = -1, ends = 0;
    int64_t stream = -1;
    bool failsAtEnd = false;
};

class GraphCapture : public testing::Test {
  protected:
    void capture(const std::function<void()>& work) { captureOn(graph, second, work, ended); }

    FakeGpus gpus;
    FakeGraph graph{gpus};
    const at::Device second{at::kCUDA, 1};
    bool ended = false;
};

TEST_F(GraphCapture, IsOfTheGpuOfItsInputOnAStreamOfItsOwn) {
    int device = -1;
    capture([&] { device = gpus.device(); });
    EXPECT_EQ(device, 1);
    EXPECT_EQ(graph.device, 1);
    EXPECT_EQ(graph.stream, 7) << "the default stream cannot be captured";
    EXPECT_EQ(graph.mode, Mode::ThreadLocal) << "other threads go on using their GPUs";
    EXPECT_TRUE(ended);
    EXPECT_EQ(gpus.waits(1), 2);
    EXPECT_EQ(gpus.waits(0), 0);
    EXPECT_EQ(gpus.device(), 0);
    EXPECT_EQ(gpus.stream(1), 0);
}

TEST_F(GraphCapture, AFailureIsThatOfTheWorkAndLeavesTheThreadAsItWas) {
    const auto fail = [] { throw std::runtime_error("the work failed"); };
    for (const bool broken : {false, true}) {
        graph.failsAtEnd = broken;
        try {
            capture(fail);
            FAIL();
        } catch (const std::exception& error) {
            EXPECT_STREQ(error.what(), "the work failed");
        }
        EXPECT_EQ(ended, !broken) << "an open capture must be kept";
        EXPECT_EQ(gpus.device(), 0);
        EXPECT_EQ(gpus.stream(1), 0);
    }
    EXPECT_EQ(graph.ends, 2);
    EXPECT_THROW(capture([] {}), std::runtime_error);
    EXPECT_FALSE(ended);
}

TEST(GraphCaptureMode, OlderLibrariesHaveNone) {
    struct Older {
        void capture_begin(std::pair<uint64_t, uint64_t>) { begun = true; }
        void capture_end() {}
        bool begun = false;
    } older;
    const FakeGpus gpus;
    bool ended = false;
    captureOn(
        older, at::Device(at::kCUDA, 0), [] {}, ended);
    EXPECT_TRUE(older.begun);
}

}  // namespace
}  // namespace atlas::engine
