// SPDX-License-Identifier: Apache-2.0
// What a GPU computes, against the processor: attention by the plug-in or by LibTorch, networks,
// recorded forward passes, whole images. Skipped where there is none;
// ATLASSCOPE_TEST_DEVICE=cpu:libtorch runs the same with the processor as the device.
#include <ATen/ops/allclose.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/nn/autocast.h"
#include "engine/nn/classifier.h"
#include "engine/nn/cuda_plugin.h"
#include "engine/nn/device_graph.h"
#include "engine/nn/segmented_attention.h"
#include "engine/nn/window_index.h"
#include "tests/engine/nn/runner_fixture.h"
#include "tests/support/test_device.h"

namespace atlas::engine {
namespace {

class Gpu : public testing::Test {
  protected:
    void SetUp() override {
        ATLAS_REQUIRE_DEVICE(found);
        at::manual_seed(3);
    }
    bool isGpu() const { return found.device.is_cuda(); }

    Atlas onDevice(const Pair& pair) const {
        Atlas network(pair.config, test::moved(pair.weights, found.device));
        network.fold();
        return network;
    }

    const at::NoGradGuard noGradient;
    const test::TestDevice found = test::testDevice("cuda");
};

TEST_F(Gpu, ThePluginIsInUse) {
    if (!isGpu()) GTEST_SKIP() << "SKIPPED: the plug-in needs a GPU";
    const std::string status = cudaPluginStatus(found.device);
    if (status.find("not found") != std::string::npos) GTEST_SKIP() << "SKIPPED: " << status;
    EXPECT_EQ(status, "CUDA plug-in in use");
}

/// Replays read the indices of windows by address, whatever the cache of indices has dropped.
TEST_F(Gpu, ARecordingOutlivesTheCacheOfIndices) {
    if (!isGpu()) GTEST_SKIP() << "SKIPPED: engine/nn does that with a recorder of its own";
    const auto tensor = [&](int64_t windows, int64_t rows) {
        return at::randn({windows, 2, rows, 64}).to(at::kBFloat16).to(found.device);
    };
    const at::Tensor k = tensor(4, 60), v = tensor(4, 60);
    const auto attend = [&](const at::Tensor& q) {
        const KeySegment segment{k, v, {}, {1, 4, 2, WindowMapping::Nested}};
        return Trace{{"out", segmentedAttention(q, {segment}).out}};
    };
    DeviceGraph graph(attend);
    for (int run = 0; run < 8; ++run) {
        const at::Tensor q = tensor(16, 64);
        const at::Tensor expected = attend(q).at("out");
        EXPECT_TRUE(at::allclose(graph.run(q).at("out"), expected, 0, 1e-3)) << run;
        for (int64_t n = 0; run == 3 && n < 100; ++n)
            WindowIndexCache::shared().get({n + 2, 2, 1, WindowMapping::Raster}, found.device);
    }
    EXPECT_TRUE(graph.refusal().empty()) << graph.refusal();
}

/// A few windows that look at themselves and at any windows of up to three coarser scales.
struct AttentionCase {
    at::Tensor q;
    std::vector<KeySegment> segments;
    std::string name;

    AttentionCase(int64_t seed, at::ScalarType type) {
        at::manual_seed(seed);
        const auto pick = [](std::vector<int64_t> from) {
            return from[static_cast<size_t>(
                at::randint(static_cast<int64_t>(from.size()), {1}).item<int64_t>())];
        };
        const int64_t heads = pick({1, 2, 3, 12}), size = pick({32, 64, 128, 24});
        const int64_t windows = pick({1, 3, 16, 40}), queries = pick({16, 49, 64, 100, 256});
        name = std::to_string(heads) + " heads of " + std::to_string(size) + ", " +
               std::to_string(windows) + " x " + std::to_string(queries);
        const auto tensor = [&](int64_t n, int64_t rows) {  // as a projection leaves it
            return at::randn({n, rows, heads, size}).to(type).transpose(1, 2);
        };
        q = tensor(windows, queries);
        segments.push_back({tensor(windows, queries), tensor(windows, queries), {}, {}});
        const int64_t scales = pick({0, 1, 2, 3});
        for (int64_t s = 0; s < scales; ++s) {
            const int64_t seen = pick({1, 2, 5}), keys = pick({16, 60, 64, 256});
            KeySegment segment{tensor(seen, keys), tensor(seen, keys), {}, {}};
            segment.keyWindow = at::randint(seen, {windows}, at::kInt);
            segments.push_back(segment);
            name += " + " + std::to_string(keys);
        }
        for (auto& segment : segments)
            if (pick({0, 1}) == 1) {
                segment.valid = at::rand({segment.k.size(0), segment.k.size(2)}) > 0.4;
                segment.valid.slice(1, 0, 1).fill_(true);
                name += " masked";
            }
    }
};

std::vector<KeySegment> mapped(std::vector<KeySegment> segments, const auto& tensor,
                               const auto& index) {
    for (auto& s : segments) {
        s.k = tensor(s.k);
        s.v = tensor(s.v);
        if (s.valid.defined()) s.valid = index(s.valid);
        if (s.keyWindow.defined()) s.keyWindow = index(s.keyWindow);
    }
    return segments;
}

TEST_F(Gpu, AttentionOfManyShapesIsThatOfFloat64) {
    for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16})
        for (int64_t seed = 0; seed < (isGpu() ? 80 : 6); ++seed) {
            const AttentionCase c(seed, type);
            SCOPED_TRACE(c.name + " " + at::toString(type));
            const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
            const auto same = [](const at::Tensor& x) { return x; };
            const auto there = [&](const at::Tensor& x) { return x.to(found.device); };
            const auto exact = mapped(c.segments, wide, same);
            const auto expected = segmentedAttention(wide(c.q), exact);
            const auto segments = mapped(c.segments, there, there);
            const at::Tensor q = there(c.q);
            const auto mine = segmentedAttention(q, segments);
            const double tolerance = type == at::kFloat ? 2e-5 : type == at::kHalf ? 6e-3 : 4e-2;
            EXPECT_LE((wide(mine.out).cpu() - expected.out).abs().max().item<double>(), tolerance);
            const at::Tensor validQuery = at::rand({c.q.size(0), c.q.size(2)}) > 0.2;
            for (size_t s = 0; s < segments.size(); ++s) {
                EXPECT_LE((wide(segmentMass(mine, s)).cpu() - segmentMass(expected, s))
                              .abs()
                              .max()
                              .item<double>(),
                          tolerance);
                const at::Tensor received =
                    receivedByKeys(wide(c.q), exact[s], expected.lse, validQuery);
                const at::Tensor gap =
                    wide(receivedByKeys(q, segments[s], mine.lse, there(validQuery))).cpu() -
                    received;
                EXPECT_LE(gap.abs().max().item<double>(),
                          2 * tolerance * std::max(1.0, received.max().item<double>()));
            }
        }
}

TEST_F(Gpu, NetworksEqualTheProcessor) {
    for (const auto mapping : {WindowMapping::Raster, WindowMapping::Nested}) {
        AtlasConfig config = tinyConfig(mapping);
        config.dim = 64;
        for (auto& stage : config.stages) stage.heads = 2;
        const Pair pair(config);
        const Atlas network = onDevice(pair);
        const at::Tensor image = at::randn({2, 3, 500, 640});
        TraceRequest request;
        request.attention = request.contributions = true;
        for (const bool bf16 : {false, true}) {
            const Autocast autocast(bf16, found.device.type());
            Trace mine;
            network.forward(image.to(found.device), {}, request, &mine);
            for (auto& [name, value] : mine) value = value.to(at::kCPU, at::kFloat);
            const Trace exact = pair.runner.run(image, {}, kAll).trace;
            for (const auto& [name, value] : exact) {
                if (!mine.contains(name)) continue;
                const double peak = std::max(1.0, value.abs().max().item<double>());
                EXPECT_LE((mine.at(name) - value).abs().max().item<double>(),
                          (bf16 ? 4e-2 : 1e-4) * peak)
                    << name;
            }
        }
    }
}

TEST_F(Gpu, WholeImagesEqualThePlainForward) {
    if (!isGpu()) GTEST_SKIP() << "SKIPPED: engine/nn does that with the processor as the device";
    for (const auto& config : {tinyConfig(WindowMapping::Nested), tinyConfig(WindowMapping::Raster),
                               externalConfig(WindowMapping::Nested)}) {
        const Pair pair(config);
        const AtlasRunner runner = AtlasRunner::onDevice(onDevice(pair));
        for (const int64_t bytes : {int64_t{0}, int64_t{1} << 16}) {
            RunnerOptions options;
            options.deviceBytes = bytes;
            expectPlainForward(pair, runner, options);
        }
    }
}

TEST_F(Gpu, MemoryIsGivenBack) {
    if (!isGpu()) GTEST_SKIP() << "SKIPPED: it is that of a GPU";
    const Pair pair(tinyConfig(WindowMapping::Nested));
    const AtlasRunner runner = AtlasRunner::onDevice(onDevice(pair));
    runner.run(noiseInput(2000, 2000), kAll, {}, {});
    const int64_t before = freeMemory(found.device);
    EXPECT_GT(before, int64_t{1} << 28);
    for (int i = 0; i < 3; ++i) runner.run(noiseInput(3000, 3000), kAll, {}, {});
    EXPECT_GT(freeMemory(found.device), before - (int64_t{64} << 20));
}

/// Batches of full contexts are recorded and replayed (CUDA graphs) from the third on.
TEST_F(Gpu, AClassifierEqualsTheProcessors) {
    const auto model = std::filesystem::path(ATLASSCOPE_SOURCE_DIR) / "resources/models/scenes";
    const auto exact = Classifier::open(model, {.device = "cpu", .cache = {}});
    const int64_t side = exact->config().patchSizePx;
    std::vector<ContextPixels> contexts;
    for (size_t n = 0; n < 9; ++n) {
        ContextPixels context{std::vector<uint8_t>(static_cast<size_t>(4 * side * side))};
        for (size_t i = 0; i < context.rgba.size(); ++i)
            context.rgba[i] =
                static_cast<uint8_t>(i % 4 == 3 ? (n == 4 && i < context.rgba.size() / 3 ? 0 : 255)
                                                : (i / 4 / (7 + n) * 31 + 90 * n) % 251);
        contexts.push_back(context);
    }
    const auto expected = exact->classify(contexts, true);
    for (const char* precision : {"fp32", "bf16"}) {
        const auto there =
            Classifier::open(model, {.device = found.name, .precision = precision, .cache = {}});
        const double tolerance = std::string(precision) == "bf16" ? 0.04 : 1e-4;
        for (int round = 0; round < (isGpu() ? 4 : 1); ++round)
            for (const bool attention : {false, true}) {
                const auto mine = there->classify(contexts, attention);
                for (size_t n = 0; n < contexts.size(); ++n) {
                    for (size_t c = 0; c < mine[n].probabilities.size(); ++c)
                        EXPECT_NEAR(mine[n].probabilities[c], expected[n].probabilities[c],
                                    tolerance)
                            << precision << " " << n;
                    for (size_t s = 0; attention && s < mine[n].meanMass.size(); ++s)
                        EXPECT_NEAR(mine[n].meanMass[s], expected[n].meanMass[s], tolerance);
                }
            }
    }
}

}  // namespace
}  // namespace atlas::engine
