// SPDX-License-Identifier: Apache-2.0
// The way to the CUDA plug-in without a GPU: a plug-in of the host's operations and devices that do
// nothing.
#include "engine/nn/cuda_plugin.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "engine/kernels/msa_block.h"
#include "engine/kernels/msa_host.h"
#include "engine/nn/plugin_check.h"
#include "tests/engine/nn/fake_gpu.h"
#include "tests/engine/nn/listener.h"

namespace atlas::engine {
namespace {

using test::FakeGpus;
using test::Listener;

const at::Device kProcessor(at::kCPU);

at::Device gpu(int index) {
    return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

// ---- A plug-in of the host's operations -------------------------------------------------------

/// The emulated block is slow, and the self-test always asks the same: what it answered before is
/// known by the sizes. `small`: questions of the tests themselves, which differ.
template <typename Compute>
void computeOnce(const AtlasMsaProblem& p, int segment,
                 const std::vector<std::pair<void*, size_t>>& results, const Compute& compute) {
    using Key = std::tuple<int, int, int, int, int>;
    static std::map<Key, std::vector<std::vector<char>>> known;
    const bool small = p.queriesPerWindow < 10;
    auto& answer =
        known[{p.element, p.headDim, p.queriesPerWindow, p.segment[0].keysPerWindow, segment}];
    if (small || answer.empty()) {
        compute();
        answer.clear();
        for (const auto& [data, bytes] : results)
            answer.emplace_back(static_cast<char*>(data), static_cast<char*>(data) + bytes);
    } else {
        for (size_t i = 0; i < results.size(); ++i)
            std::memcpy(results[i].first, answer[i].data(), answer[i].size());
    }
}

void hostForward(const AtlasMsaProblem& p) {
    const auto rows = static_cast<size_t>(p.queryWindows * p.heads * p.queriesPerWindow);
    const size_t bytes = p.element == kAtlasFloat32 ? 4 : 2;
    computeOnce(p, -1,
                {{p.out.data, rows * static_cast<size_t>(p.headDim) * bytes},
                 {p.lse, rows * sizeof(float)},
                 {p.mass, rows * sizeof(float) * static_cast<size_t>(p.segments)}},
                [&] { msaForwardHost(p); });
}

void hostReceived(const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
    const AtlasMsaSegment& s = p.segment[r.segment];
    const auto keys = static_cast<size_t>(r.parts * p.heads * s.keyWindows * s.keysPerWindow);
    computeOnce(p, static_cast<int>(s.keyWindows), {{r.received, keys * sizeof(float)}},
                [&] { msaReceivedHost(p, r); });
}

struct FakePlugin {
    FakeGpus* gpus = nullptr;
    std::vector<std::tuple<int, int, void*>> calls;  // the thread's GPU, the call's, its stream
    const char* failure = nullptr;
    AtlasCudaReport report{};
    int version = kAtlasMsaVersion;
    std::function<void(const AtlasMsaProblem&)> after;
} fake;

int fakeVersion() {
    return fake.version;
}
void fakeReport(int, AtlasCudaReport* report) {
    *report = fake.report;
}
const char* done(int device, void* stream) {
    fake.calls.emplace_back(fake.gpus ? fake.gpus->device() : -1, device, stream);
    return fake.failure;
}
const char* fakeForward(const AtlasMsaProblem* problem, int device, void* stream) {
    hostForward(*problem);
    if (fake.after) fake.after(*problem);
    return done(device, stream);
}
const char* fakeReceived(const AtlasMsaProblem* problem, const AtlasMsaReceived* request,
                         int device, void* stream) {
    hostReceived(*problem, *request);
    return done(device, stream);
}

class CudaPluginTest : public testing::Test {
  protected:
    void SetUp() override { fake = {}; }
    static PluginFunctions functions() {
        return {fakeVersion, fakeReport, fakeForward, fakeReceived};
    }
    /// Asks with tensors of the processor, whatever the device is.
    static std::optional<SegmentedAttention> ask(CudaPlugin& plugin, const at::Device& device,
                                                 const at::Tensor& q, const KeySegment& segment) {
        return segmentedAttentionBy(plugin.forward(device), q, {segment});
    }

    const at::NoGradGuard noGradient;
    Listener listener;
    CudaPlugin plugin{true, "", functions(), ""};
    const at::Tensor q = at::randn({2, 1, 3, 32}).to(at::kBFloat16);
    const KeySegment segment{q, q, {}, {}};
};

TEST_F(CudaPluginTest, RunsOnTheGpuOfItsTensorsAndOnThatGpusStream) {
    FakeGpus gpus;
    fake.gpus = &gpus;
    const auto forward = ask(plugin, gpu(1), q, segment);
    ASSERT_TRUE(forward);
    ASSERT_TRUE(receivedBy(plugin.received(gpu(1)), q, segment, forward->lse, {}));
    const std::tuple expected{1, 1, FakeGpus::handle(1, 0)};
    EXPECT_EQ(fake.calls, (std::vector{expected, expected}));
    EXPECT_EQ(gpus.device(), 0) << "the thread goes on with its own GPU";
    fake.failure = "kernel launch: out of resources";
    EXPECT_FALSE(ask(plugin, gpu(1), q, segment));
    EXPECT_EQ(gpus.device(), 0);
}

TEST_F(CudaPluginTest, TheCauseOfAFailingCallIsToldAndRemembered) {
    EXPECT_EQ(plugin.status(kProcessor), "CUDA plug-in in use");
    fake.failure = "kernel launch: too many resources requested for launch";
    EXPECT_FALSE(ask(plugin, kProcessor, q, segment));
    EXPECT_FALSE(ask(plugin, kProcessor, q, segment));
    ASSERT_EQ(listener.said.size(), 1u) << "once, not with every call";
    EXPECT_NE(listener.said[0].find(fake.failure), std::string::npos);
    EXPECT_EQ(plugin.status(kProcessor),
              std::string("CUDA plug-in in use, but 2 of its calls failed, the last with ") +
                  fake.failure);
}

TEST_F(CudaPluginTest, IsTestedOnEachGpuThatIsUsed) {
    EXPECT_TRUE(plugin.usable(kProcessor));
    const size_t calls = fake.calls.size();
    EXPECT_GT(calls, 40u);
    EXPECT_TRUE(plugin.usable(kProcessor));
    EXPECT_EQ(fake.calls.size(), calls) << "once is enough";
    fake.report.error = 209;
    fake.report.major = 7;
    fake.report.minor = 5;
    EXPECT_FALSE(plugin.usable(gpu(1))) << "another GPU is another question";
    EXPECT_NE(plugin.status(gpu(1)).find("no kernels for this GPU of compute capability 7.5"),
              std::string::npos);
    EXPECT_TRUE(plugin.usable(kProcessor));
    EXPECT_NE(listener.all().find("not used on cuda:1"), std::string::npos);
}

TEST_F(CudaPluginTest, WrongResultsAreNotUsed) {
    fake.after = [](const AtlasMsaProblem& p) {
        if (p.element == kAtlasFloat16 && p.headDim == 128 && p.queriesPerWindow > 16)
            p.mass[0] += 0.01f;
    };
    EXPECT_FALSE(plugin.usable(kProcessor));
    const std::string status = plugin.status(kProcessor);
    EXPECT_NE(
        status.find("its self-test gave wrong results, in Half, head size 128, windows of 50"),
        std::string::npos)
        << status;
    EXPECT_NE(status.find("the mass is off by"), std::string::npos) << status;
}

TEST_F(CudaPluginTest, ACallOfTheSelfTestThatFailsIsNotAWrongResult) {
    fake.failure = "kernel launch: an illegal memory access was encountered";
    EXPECT_FALSE(plugin.usable(kProcessor));
    const std::string status = plugin.status(kProcessor);
    EXPECT_NE(status.find("a call of its self-test failed (kernel launch: an illegal memory"),
              std::string::npos)
        << status;
    EXPECT_EQ(status.find("wrong results"), std::string::npos);
}

TEST_F(CudaPluginTest, AnotherVersionIsNotAsked) {
    fake.version = kAtlasMsaVersion - 1;
    EXPECT_FALSE(plugin.usable(kProcessor));
    EXPECT_TRUE(fake.calls.empty());
    CudaPlugin half{true, "", {fakeVersion, nullptr, fakeForward, fakeReceived}, ""};
    EXPECT_NE(half.status(kProcessor).find("lacks a function"), std::string::npos);
}

// ---- The self-test ----------------------------------------------------------------------------

TEST(PluginSelfTest, HasEveryKernel) {
    std::set<std::tuple<at::ScalarType, int, int, int>> forward, every;
    for (const auto& c : pluginCases()) {
        if (c.type == at::kFloat) continue;
        msaWithShape(static_cast<int>(c.headDim), static_cast<int>(c.rows), [&](auto shape) {
            using Shape = decltype(shape);
            forward.emplace(c.type, Shape::headDim, Shape::warps, Shape::rowTiles);
        });
    }
    for (const auto type : {at::kBFloat16, at::kHalf})
        for (const int size : {32, 64, 128})
            for (int rows = 1; rows <= 300; ++rows)
                msaWithShape(size, rows, [&](auto shape) {
                    using Shape = decltype(shape);
                    every.emplace(type, Shape::headDim, Shape::warps, Shape::rowTiles);
                });
    EXPECT_EQ(every.size(), 16u);
    EXPECT_EQ(forward, every);
}

/// What a kernel can get wrong, in the last row of the last head of the last window.
enum class Damage { Output, Lse, Mass, Received, Nothing };

std::string wrongWith(const PluginCase& asked, Damage damage) {
    const MsaForwardCall forward = [&](const AtlasMsaProblem& p) {
        hostForward(p);
        const int64_t row = p.queryWindows * p.heads * p.queriesPerWindow - 1;
        if (damage == Damage::Lse) p.lse[row] += 0.01f;
        if (damage == Damage::Mass) p.mass[2 * row + 1] = NAN;  // of the last segment
        const int64_t at = (p.queryWindows - 1) * p.out.window + (p.heads - 1) * p.out.head +
                           (p.queriesPerWindow - 1) * p.out.row + p.headDim - 1;
        if (damage != Damage::Output) return static_cast<const char*>(nullptr);
        if (p.element == kAtlasFloat32)
            static_cast<float*>(p.out.data)[at] += 0.01f;
        else
            static_cast<uint16_t*>(p.out.data)[at] ^= 0x8000;  // its sign
        return static_cast<const char*>(nullptr);
    };
    const MsaReceivedCall received = [&](const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
        hostReceived(p, r);
        const AtlasMsaSegment& s = p.segment[r.segment];
        if (damage == Damage::Received)
            r.received[r.parts * p.heads * s.keyWindows * s.keysPerWindow - 1] += 1;
        return static_cast<const char*>(nullptr);
    };
    return wrongOfPlugin(asked, forward, received, at::Device(at::kCPU));
}

TEST(PluginSelfTest, FindsWhateverOneKernelGetsWrong) {
    for (const auto& asked : pluginCases()) {
        SCOPED_TRACE(asked.name());
        EXPECT_EQ(wrongWith(asked, Damage::Nothing), "");
        EXPECT_NE(wrongWith(asked, Damage::Output).find("the output"), std::string::npos);
        EXPECT_NE(wrongWith(asked, Damage::Lse).find("the log-sum-exp"), std::string::npos);
        EXPECT_NE(wrongWith(asked, Damage::Mass).find("the mass"), std::string::npos);
        if (asked.type == at::kFloat) continue;
        EXPECT_NE(wrongWith(asked, Damage::Received).find("received"), std::string::npos);
    }
}

TEST(PluginSelfTest, TakesNoRandomNumbersOfOthers) {
    at::manual_seed(11);
    const at::Tensor expected = at::randn({4});
    at::manual_seed(11);
    wrongWith(pluginCases().back(), Damage::Nothing);
    EXPECT_TRUE(at::equal(at::randn({4}), expected));
}

// ---- What is faster ---------------------------------------------------------------------------

TEST(PluginIsFaster, OnTensorCoresAlwaysAndRowByRowForLittleWork) {
    AttentionWork work{at::kBFloat16, 64, 256, 12, 256, {256, 256, 256}};
    for (const auto type : {at::kBFloat16, at::kHalf}) {
        work.type = type;
        for (const int64_t size : {32, 64, 128}) {
            work.headDim = size;
            EXPECT_TRUE(pluginIsFaster(work)) << size;
        }
        for (const int64_t size : {8, 24, 96, 256}) {
            work.headDim = size;
            EXPECT_FALSE(pluginIsFaster(work)) << size;
        }
    }
    // float32 of a whole image goes to the library's matrix products, whatever the head size is.
    work.type = at::kFloat;
    for (const int64_t size : {24, 64}) {
        work.headDim = size;
        EXPECT_FALSE(pluginIsFaster(work)) << size;
    }
    EXPECT_TRUE(pluginIsFaster({at::kFloat, 16, 1, 2, 16, {16}}));
    EXPECT_FALSE(pluginIsFaster({at::kDouble, 16, 1, 2, 16, {16}})) << "it has no float64";
}

}  // namespace
}  // namespace atlas::engine
