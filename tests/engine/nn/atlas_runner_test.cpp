// SPDX-License-Identifier: Apache-2.0
// The processor's path against Atlas::forward on shapes that the golden files do not have; scratch
// files, checkpoints and cancelling; and what `atlasCost` counts against the specification's table.
#include "engine/nn/atlas_runner.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/atlas_cost.h"
#include "engine/nn/model_error.h"
#include "tests/engine/nn/runner_fixture.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

class RunnerShapes : public testing::TestWithParam<std::tuple<WindowMapping, bool>> {};

TEST_P(RunnerShapes, EqualsThePlainForward) {
    const at::NoGradGuard noGradient;
    at::manual_seed(7);
    const auto& [mapping, external] = GetParam();
    Pair pair(external ? externalConfig(mapping) : tinyConfig(mapping));
    expectPlainForward(pair, pair.runner, {});
}

INSTANTIATE_TEST_SUITE_P(Mappings, RunnerShapes,
                         testing::Combine(testing::Values(WindowMapping::Raster,
                                                          WindowMapping::Nested),
                                          testing::Bool()));

TEST(Runner, Bfloat16StaysNearFloat32InOneContextAndStreamed) {
    const at::NoGradGuard noGradient;
    at::manual_seed(17);
    AtlasConfig config = tinyConfig(WindowMapping::Nested);
    config.dim = 64;
    config.stemWidth = 16;
    for (auto& stage : config.stages) stage.heads = 4;
    Atlas network(config, randomWeights(config));
    network.fold();
    const AtlasRunner exact(network), rounded(network, true);
    const at::Tensor image = at::randn({1, 3, 300, 520});
    const Trace a = exact.run(image, {}, kAll).trace, b = rounded.run(image, {}, kAll).trace;
    const double largest = expectNear(a, b, 2e-2);
    EXPECT_GT(largest, 1e-6) << "nothing was rounded";
}

TEST(Runner, GoesWithoutAScaleAsThePlainForwardDoes) {
    const at::NoGradGuard noGradient;
    at::manual_seed(8);
    Pair pair(tinyConfig(WindowMapping::Nested));
    const at::Tensor image = at::randn({1, 3, 1030, 700});
    const at::Tensor whole = pair.runner.run(image, {}, RunnerRequest{}).logits;
    for (int64_t off : {0, 1, 2}) {
        const RunnerOutput output = expectPlainForwardWithout(off, pair, pair.runner, image);
        EXPECT_GT((output.logits - whole).abs().max().item<double>(), 1e-5) << off;
        for (const auto& [name, map] : output.trace)  // nobody else looks at it
            if (name.find(".mass.q") != std::string::npos &&
                name.ends_with(".k" + std::to_string(off)) &&
                name.find("q" + std::to_string(off) + ".") == std::string::npos) {
                EXPECT_EQ(map.abs().max().item<double>(), 0) << name;
            }
    }
}

TEST(Runner, ProbesEveryBlockAndHead) {
    const at::NoGradGuard noGradient;
    Pair pair(tinyConfig(WindowMapping::Nested));
    const at::Tensor image = at::randn({1, 3, 512, 512});
    for (int64_t stage : {0, 1})
        for (int64_t block = 0;
             block < pair.network.config().stages[static_cast<size_t>(stage)].depth; ++block) {
            at::Tensor mean;
            const int64_t heads = pair.network.config().stages[static_cast<size_t>(stage)].heads;
            for (int64_t head = -1; head < heads; ++head) {
                TraceRequest request;
                request.probe = ProbePoint{1, 3, 5, stage, block, head};
                Trace expected;
                pair.network.forward(image, {}, request, &expected);
                RunnerRequest asked;
                asked.probe = request.probe;
                const Trace trace = pair.runner.run(image, {}, asked).trace;
                const std::string name = "stage" + std::to_string(stage) + ".probe.k1";
                ASSERT_TRUE(trace.contains(name));
                const at::Tensor map = trace.at(name);
                EXPECT_TRUE(at::allclose(map, expected.at(name).view_as(map), 0, 1e-5)) << name;
                if (head < 0)
                    mean = map * static_cast<double>(heads);
                else
                    mean = mean - map;
            }
            EXPECT_LE(mean.abs().max().item<double>(), 1e-5);  // the mean is that of the heads
        }
}

TEST(Runner, ProbeGivesTheWeightsOfOneToken) {
    const at::NoGradGuard noGradient;
    Pair pair(tinyConfig(WindowMapping::Nested));
    const at::Tensor image = at::randn({1, 3, 512, 512});
    TraceRequest request;
    request.probe = ProbePoint{0, 13, 21};
    Trace expected;
    pair.network.forward(image, {}, request, &expected);
    RunnerRequest asked;
    asked.probe = request.probe;
    const RunnerOutput output = pair.runner.run(image, {}, asked);
    double sum = 0;
    for (int k = 0; k < 3; ++k) {
        const std::string name = "stage0.probe.k" + std::to_string(k);
        ASSERT_TRUE(output.trace.contains(name) == expected.contains(name)) << name;
        if (!expected.contains(name)) continue;
        const at::Tensor gap =
            output.trace.at(name) - expected.at(name).view_as(output.trace.at(name));
        EXPECT_LE(gap.abs().max().item<double>(), 1e-5) << name;
        sum += output.trace.at(name).sum().item<double>();
    }
    EXPECT_NEAR(sum, 1, 1e-4);
}

double sumOf(const FlowDepth& depth) {
    double sum = 0;
    for (const auto& map : depth.maps)
        for (float v : map) {
            EXPECT_GE(v, 0);
            sum += v;
        }
    return sum;
}

// With one scale the flow is the product of (identity + attention) / 2 of every block.
TEST(Flow, OfOneScaleIsTheProductOfTheAttentionMatrices) {
    const at::NoGradGuard noGradient;
    Pair pair(tinyConfig(WindowMapping::Nested));
    const at::Tensor image = at::randn({1, 3, 112, 128});  // 7 x 8 tokens
    RunnerRequest asked;
    asked.flow = true;
    const RunnerOutput output = pair.runner.run(image, {}, asked);
    at::Tensor flow = at::zeros({64}, at::kDouble);
    flow.slice(0, 0, 56).fill_(1.0 / 56);
    for (int64_t stage = 2; stage >= 0; --stage)
        for (int64_t block = pair.config.stages[static_cast<size_t>(stage)].depth - 1; block >= 0;
             --block) {
            at::Tensor weights = at::zeros({64, 64}, at::kDouble);
            for (int64_t token = 0; token < 56; ++token) {
                RunnerRequest probe;
                probe.probe = ProbePoint{0, token / 8, token % 8, stage, block, -1};
                const Trace trace = pair.runner.run(image, {}, probe).trace;
                weights[token].copy_(
                    trace.at("stage" + std::to_string(stage) + ".probe.k0").reshape({64}));
            }
            flow = flow / 2 + at::matmul(weights.t(), flow) / 2;
        }
    ASSERT_EQ(output.flow.size(), 6u);  // five blocks and the readout: the input is the first block
    std::vector<float> input = output.flow[0].maps[0];
    const at::Tensor mine = at::from_blob(input.data(), {64}, at::kFloat).to(at::kDouble);
    EXPECT_LE((mine - flow).abs().max().item<double>(), 1e-6);
    EXPECT_NEAR(flow.sum().item<double>(), 1, 1e-6);
}

TEST(Flow, KeepsItsSumThroughScalesStagesAndMasks) {
    const at::NoGradGuard noGradient;
    for (const auto& config : {tinyConfig(WindowMapping::Nested), tinyConfig(WindowMapping::Raster),
                               externalConfig(WindowMapping::Nested)}) {
        Pair pair(config);
        const at::Tensor image = at::randn({1, 3, 1000, 700});
        at::Tensor mask = at::ones({1, 63, 44}, at::kByte);
        mask.slice(1, 10, 30).slice(2, 5, 40).fill_(0);
        RunnerRequest asked;
        asked.flow = true;
        asked.attention = true;
        const RunnerOutput output = pair.runner.run(image, mask, asked);
        ASSERT_EQ(output.flow.size(), 7u);  // the input, five blocks, the readout
        for (const auto& depth : output.flow) EXPECT_NEAR(sumOf(depth), 1, 1e-5) << depth.stage;
        EXPECT_EQ(output.flow[0].stage, -1);
        EXPECT_TRUE(output.flow[0].maps[1].empty());
        EXPECT_TRUE(output.flow[3].maps[0].empty());  // stage 1 is without the finest scale
        const auto& finest = output.flow[0].maps[0];
        double inside = 0;
        for (int64_t y = 0; y < 64; ++y)
            for (int64_t x = 0; x < 64; ++x) {
                const bool valid = y < 63 && x < 44 && !(y >= 10 && y < 30 && x >= 5 && x < 40);
                if (!valid) {
                    EXPECT_EQ(finest[static_cast<size_t>(y * 64 + x)], 0) << y << " " << x;
                } else {
                    inside += finest[static_cast<size_t>(y * 64 + x)];
                }
            }
        EXPECT_NEAR(inside, 1, 1e-5);
        // What was recorded is the attention that the golden data check: received by each key.
        for (const bool up : {false, true}) {
            const at::Tensor map = output.trace.at(up ? "stage0.attention.received_up.q1.k0"
                                                      : "stage0.attention.received.q0.k0")[0];
            at::Tensor sum = at::zeros({64 * 64}, at::kDouble);
            for (const auto& window : output.attention->windows(0, 1, up, up ? 1 : 0))
                for (size_t k = 0; k < window.keys.size(); ++k) {
                    if (window.keys[k].scale != 0) continue;
                    for (size_t q = 0; q < window.queries.size(); ++q)
                        sum[window.keys[k].place] += window.weights[q * window.keys.size() + k];
                }
            EXPECT_LE((sum.view({64, 64}) - map).abs().max().item<double>(), 1e-4) << up;
        }
    }
}

TEST(Runner, ContributionsSumToTheLogits) {
    const at::NoGradGuard noGradient;
    Pair pair(tinyConfig(WindowMapping::Nested));
    const RunnerOutput output = pair.runner.run(at::randn({2, 3, 512, 400}), {}, kAll);
    at::Tensor sum = output.trace.at("baseline").unsqueeze(0).expand({2, 5}).clone();
    for (const auto& [name, map] : output.trace)
        if (name.starts_with("contributions.")) sum += map.sum({1, 2});
    const double peak = std::max(1.0, output.logits.abs().max().item<double>());
    EXPECT_LE((sum - output.logits).abs().max().item<double>(), 1e-4 * peak);
}

class RunnerConfigs : public testing::TestWithParam<bool> {
  protected:
    Pair pair{GetParam() ? externalConfig(WindowMapping::Nested)
                         : tinyConfig(WindowMapping::Nested)};
};
INSTANTIATE_TEST_SUITE_P(WithAndWithoutMemories, RunnerConfigs, testing::Bool());

TEST_P(RunnerConfigs, ScratchFileGivesTheSameAndReadsEachPixelOnce) {
    const test::TemporaryFolder folder;
    int64_t read = 0;
    const RunnerInput input = noiseInput(1100, 1000, &read);
    const RunnerOutput inMemory = pair.runner.run(input, kAll, {}, {});
    EXPECT_EQ(read, 1100 * 1000);
    RunnerOptions options;
    options.scratch = folder.path() / "scratch";
    for (const bool checkpoints : {false, true}) {
        options.checkpoints = checkpoints;
        options.key = "one";
        // Enough for everything but the finest tokens.
        int64_t needed = int64_t{384} << 20;
        for (;; needed += 1 << 18) try {
                options.memoryBytes = needed;
                const RunnerOutput output = pair.runner.run(input, kAll, options, {});
                EXPECT_TRUE(output.usedScratchFile);
                EXPECT_TRUE(at::equal(output.logits, inMemory.logits));
                for (const auto& [name, map] : inMemory.trace)
                    EXPECT_TRUE(at::equal(map, output.trace.at(name))) << name;
                // The stem writes once; each of the two blocks of its stage reads and writes once.
                EXPECT_LE(output.scratchTraffic, 5 * output.tokenBytes);
                break;
            } catch (const ModelError& error) {
                ASSERT_NE(std::string(error.what()).find("--memory"), std::string::npos);
            }
        if (checkpoints) {
            EXPECT_TRUE(std::filesystem::is_empty(options.scratch));
        }
    }
}

TEST_P(RunnerConfigs, GoesOnFromACheckpointWhereverItWasCancelled) {
    const RunnerInput input = noiseInput(700, 900);
    const RunnerOutput whole = pair.runner.run(input, kAll, {}, {});
    for (const bool file : {false, true}) {
        const test::TemporaryFolder folder;
        RunnerOptions options;
        options.scratch = folder.path();
        options.checkpoints = true;
        options.checkpointSeconds = 0;
        options.key = "key";
        if (file) options.memoryBytes = leastMemory(pair.runner, input, options);
        double reached = 0;
        int calls = 0, attempts = 0;
        for (const double limit : {0.1, 0.35, 0.6, 0.8, 0.97, 2.0}) {
            double first = -1;
            ++attempts;
            try {
                const RunnerOutput output =
                    pair.runner.run(input, kAll, options, [&](const RunnerProgress& p) {
                        ++calls;
                        EXPECT_GE(p.done + 1e-9, first);  // never backwards
                        if (first < 0) {
                            first = p.done;
                            // What was reached before is not done again, but for a part.
                            EXPECT_GE(p.done, reached - 0.5);
                            if (reached > 0.5) {
                                EXPECT_GT(p.done, 0.2);
                            }
                        }
                        reached = std::max(reached, p.done);
                        if (p.done > limit) throw Stop{};
                    });
                EXPECT_EQ(output.usedScratchFile, file);
                EXPECT_TRUE(at::equal(output.logits, whole.logits)) << file;
                for (const auto& [name, map] : whole.trace)
                    EXPECT_TRUE(at::equal(map, output.trace.at(name))) << name;
                break;
            } catch (const Stop&) {
                EXPECT_TRUE(std::filesystem::exists(folder.path()));
            }
        }
        EXPECT_EQ(attempts, 6);
        EXPECT_GT(calls, 20);
        EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoint.bin"));
    }
}

TEST(Runner, GoesOnFromACheckpointOfAnImageWithOneScale) {
    Pair pair(tinyConfig(WindowMapping::Nested));
    const RunnerInput input = noiseInput(110, 128);
    const RunnerOutput whole = pair.runner.run(input, kAll, {}, {});
    const test::TemporaryFolder folder;
    RunnerOptions options;
    options.scratch = folder.path();
    options.checkpoints = true;
    options.checkpointSeconds = 0;
    options.key = "key";
    EXPECT_THROW(pair.runner.run(input, kAll, options,
                                 [](const RunnerProgress& p) {
                                     if (p.done > 0.999) throw Stop{};
                                 }),
                 Stop);
    double first = -1;
    const RunnerOutput output = pair.runner.run(input, kAll, options, [&](const RunnerProgress& p) {
        if (first < 0) first = p.done;
    });
    EXPECT_GT(first, 0.8);
    EXPECT_TRUE(at::equal(output.logits, whole.logits));
}

TEST(Runner, CheckpointsOfOtherRunsAndDamagedOnesAreNotBelieved) {
    Pair pair(tinyConfig(WindowMapping::Nested));
    const RunnerInput input = noiseInput(512, 512);
    const RunnerOutput whole = pair.runner.run(input, kAll, {}, {});
    const test::TemporaryFolder folder;
    RunnerOptions options;
    options.scratch = folder.path();
    options.checkpoints = true;
    options.checkpointSeconds = 0;
    options.key = "first";
    const auto stopLate = [](const RunnerProgress& p) {
        if (p.done > 0.9) throw Stop{};
    };
    EXPECT_THROW(pair.runner.run(input, kAll, options, stopLate), Stop);
    const auto path = folder.path() / "checkpoint.bin";
    ASSERT_TRUE(std::filesystem::exists(path));
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) / 2));
        file.put('\x5a');
        file.put('\x5b');
    }
    double first = -1;
    const RunnerOutput output = pair.runner.run(input, kAll, options, [&](const RunnerProgress& p) {
        if (first < 0) first = p.done;
    });
    EXPECT_LT(first, 0.2);
    EXPECT_TRUE(at::equal(output.logits, whole.logits));
    EXPECT_THROW(pair.runner.run(input, kAll, options, stopLate), Stop);
    options.key = "second";
    first = -1;
    pair.runner.run(input, kAll, options, [&](const RunnerProgress& p) {
        if (first < 0) first = p.done;
    });
    EXPECT_LT(first, 0.2);
}

TEST(Runner, HostileSizesAreRefusedByName) {
    Pair pair(tinyConfig(WindowMapping::Nested));
    RunnerOptions options;
    options.memoryBytes = int64_t{1} << 30;
    EXPECT_THROW(pair.runner.run(noiseInput(int64_t{1} << 40, 100), {}, options, {}),
                 std::exception);
    EXPECT_THROW(pair.runner.run(noiseInput(4'000'000, 4'000'000), {}, options, {}), ModelError);
    EXPECT_THROW(pair.runner.run(noiseInput(0, 5), {}, {}, {}), ModelError);
    RunnerInput input = noiseInput(64, 64);
    input.tokenMask.assign(16, 0);
    EXPECT_THROW(pair.runner.run(input, {}, {}, {}), ModelError);
    input.tokenMask.assign(7, 1);
    EXPECT_THROW(pair.runner.run(input, {}, {}, {}), ModelError);
}

TEST(AtlasCost, IsThatOfTheSpecification) {
    const auto path = test::dataRoot() / "golden" / "atlas_b_1024.keys.json";
    ATLAS_REQUIRE_DATA(path);
    std::ifstream file(path);
    const auto variants = nlohmann::json::parse(file).at("flops").at("variants");
    AtlasConfig base;
    base.numClasses = 100;
    base.stages = {{2, 12, 4, true, 3}, {10, 12, 4, true, 2}};
    for (const auto& [name, side] :
         {std::pair{"b_1024", 1024}, {"b_2048_depth_2_10", 2048}, {"b_4096_depth_2_10", 4096}}) {
        const auto& expected = variants.at(name).at("flops_per_image");
        const AtlasCost cost = atlasCost(base, side);
        EXPECT_NEAR(cost.stem, expected.at("stem").get<double>(), 1) << name;
        EXPECT_NEAR(cost.projections, expected.at("projections").get<double>(), 1) << name;
        EXPECT_NEAR(cost.attention, expected.at("attention").get<double>(), 1) << name;
        EXPECT_NEAR(cost.mlp, expected.at("mlp").get<double>(), 1) << name;
    }
}

}  // namespace
}  // namespace atlas::engine
