// SPDX-License-Identifier: Apache-2.0
// Whole images on a device, with the processor as the device: against Atlas::forward, with the
// finest tokens in the device's memory, in the host's and in a scratch file.
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "engine/nn/model_error.h"
#include "tests/engine/nn/runner_fixture.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

constexpr int64_t kLittle = int64_t{1} << 16;  // too little for any image's finest tokens

AtlasRunner deviceRunner(const Pair& pair, bool bf16 = false) {
    return AtlasRunner::onDevice(pair.folded(), bf16);
}

class DeviceRunnerShapes : public testing::TestWithParam<std::tuple<WindowMapping, bool, int64_t>> {
};

TEST_P(DeviceRunnerShapes, EqualsThePlainForward) {
    const at::NoGradGuard noGradient;
    at::manual_seed(7);
    const auto& [mapping, external, bytes] = GetParam();
    const Pair pair(external ? externalConfig(mapping) : tinyConfig(mapping));
    const AtlasRunner runner = deviceRunner(pair);
    RunnerOptions options;
    options.deviceBytes = bytes;
    expectPlainForward(pair, runner, options);
}

INSTANTIATE_TEST_SUITE_P(Places, DeviceRunnerShapes,
                         testing::Combine(testing::Values(WindowMapping::Raster,
                                                          WindowMapping::Nested),
                                          testing::Bool(), testing::Values(0, kLittle)));

TEST(DeviceRunner, GoesWithoutAScaleAsThePlainForwardDoes) {
    const at::NoGradGuard noGradient;
    at::manual_seed(8);
    const Pair pair(tinyConfig(WindowMapping::Nested));
    const AtlasRunner runner = deviceRunner(pair);
    const at::Tensor image = at::randn({1, 3, 1030, 700});
    for (int64_t off : {0, 1, 2}) {
        expectPlainForwardWithout(off, pair, runner, image);
    }
}

TEST(DeviceRunner, Bfloat16StaysNearFloat32) {
    const at::NoGradGuard noGradient;
    at::manual_seed(17);
    AtlasConfig config = tinyConfig(WindowMapping::Nested);
    config.dim = 64;
    config.stemWidth = 16;
    for (auto& stage : config.stages) stage.heads = 4;
    const Pair pair(config);
    const at::Tensor image = at::randn({1, 3, 300, 520});
    const Trace a = deviceRunner(pair).run(image, {}, kAll).trace,
                b = deviceRunner(pair, true).run(image, {}, kAll).trace;
    const double largest = expectNear(a, b, 3e-2);
    EXPECT_GT(largest, 1e-4) << "nothing was rounded";
}

TEST(DeviceRunner, KeepsTheFinestTokensInBfloat16WhereTheyFitNoOtherWay) {
    const at::NoGradGuard noGradient;
    at::manual_seed(18);
    const Pair pair(tinyConfig(WindowMapping::Nested));
    const AtlasRunner runner = deviceRunner(pair, true), exact = deviceRunner(pair);
    const at::Tensor image = at::randn({1, 3, 1024, 1024});
    const at::Tensor expected = exact.run(image, {}, kAll).logits;
    RunnerOptions options;
    const int64_t finest = exact.run(image, {}, kAll).tokenBytes;
    std::vector<at::Tensor> answers;
    // Room for all of it; for half; for none.
    for (const double share : {4.0, 1.2, 0.1}) {
        options.deviceBytes = static_cast<int64_t>(share * static_cast<double>(finest));
        answers.push_back(runner.run(image, {}, kAll, options).logits);
        EXPECT_LE((answers.back() - expected).abs().max().item<double>(),
                  3e-2 * std::max(1.0, expected.abs().max().item<double>()))
            << share;
    }
    EXPECT_GT((answers[0] - answers[1]).abs().max().item<double>(), 0) << "nothing was rounded";
}

/// Where the finest tokens lie.
enum class Place { Device, Host, File };

class DeviceRunnerPlaces : public testing::TestWithParam<std::tuple<Place, bool>> {
  protected:
    Place place() const { return std::get<0>(GetParam()); }
    const Pair pair{std::get<1>(GetParam()) ? externalConfig(WindowMapping::Nested)
                                            : tinyConfig(WindowMapping::Nested)};
    const AtlasRunner runner = deviceRunner(pair);

    /// With too little memory for the finest tokens, where they are to go to a file.
    RunnerOptions optionsFor(const RunnerInput& input, const std::filesystem::path& scratch) const {
        RunnerOptions options;
        options.scratch = scratch;
        options.deviceBytes = place() == Place::Device ? 0 : kLittle;
        options.key = "key";
        options.checkpointSeconds = 0;
        if (place() == Place::File) options.memoryBytes = leastMemory(runner, input, options);
        return options;
    }
};
INSTANTIATE_TEST_SUITE_P(Tokens, DeviceRunnerPlaces,
                         testing::Combine(testing::Values(Place::Device, Place::Host, Place::File),
                                          testing::Bool()));

TEST_P(DeviceRunnerPlaces, EqualsTheProcessorAndReadsEachPixelOnce) {
    const test::TemporaryFolder folder;
    int64_t read = 0;
    const RunnerInput input = noiseInput(1100, 1000, &read);
    const RunnerOptions options = optionsFor(input, folder.path() / "scratch");
    read = 0;
    const RunnerOutput output = runner.run(input, kAll, options, {});
    EXPECT_EQ(read, 1100 * 1000);
    EXPECT_EQ(output.usedScratchFile, place() == Place::File);
    EXPECT_LE(output.scratchTraffic, 5 * output.tokenBytes);
    const RunnerOutput expected = pair.runner.run(input, kAll, {}, {});
    EXPECT_EQ(output.trace.size(), expected.trace.size());
    expectEqual(output.trace, expected.trace);
}

TEST_P(DeviceRunnerPlaces, GoesOnFromACheckpointWhereverItWasCancelled) {
    const RunnerInput input = noiseInput(700, 900);
    const RunnerOutput whole = runner.run(input, kAll, {}, {});
    const test::TemporaryFolder folder;
    RunnerOptions options = optionsFor(input, folder.path());
    options.checkpoints = true;
    double reached = 0, first = -1;
    for (const double limit : {0.1, 0.35, 0.6, 0.8, 0.97}) {
        first = -1;
        EXPECT_THROW(runner.run(input, kAll, options,
                                [&](const RunnerProgress& p) {
                                    if (first < 0) first = p.done;
                                    reached = std::max(reached, p.done);
                                    if (p.done > limit) throw Stop{};
                                }),
                     Stop);
    }
    EXPECT_GT(first, 0.5);  // what was reached is not done again
    const RunnerOutput output = runner.run(input, kAll, options, {});
    EXPECT_LE((output.logits - whole.logits).abs().max().item<double>(), 1e-6);
    for (const auto& [name, map] : whole.trace)
        EXPECT_LE((output.trace.at(name) - map).abs().max().item<double>(), 1e-5) << name;
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoint.bin"));
}

/// A device that runs out of memory leaves a checkpoint behind.
TEST_P(DeviceRunnerPlaces, TheProcessorGoesOnWithWhatADeviceHasDone) {
    const RunnerInput input = noiseInput(700, 900);
    const test::TemporaryFolder folder;
    RunnerOptions options = optionsFor(input, folder.path());
    options.checkpoints = true;
    EXPECT_THROW(runner.run(input, kAll, options,
                            [](const RunnerProgress& p) {
                                if (p.done > 0.9) throw Stop{};
                            }),
                 Stop);
    if (place() == Place::File) options.memoryBytes = leastMemory(pair.runner, input, options);
    double first = -1;
    const RunnerOutput output = pair.runner.run(
        input, kAll, options, [&](const RunnerProgress& p) { first = first < 0 ? p.done : first; });
    EXPECT_GT(first, 0.4);
    expectEqual(output.trace, pair.runner.run(input, kAll, {}, {}).trace);
}

TEST(DeviceRunner, RefusesWhatOnlyTheProcessorDoes) {
    const Pair pair(tinyConfig(WindowMapping::Nested));
    const AtlasRunner runner = deviceRunner(pair);
    RunnerRequest request;
    request.probe = ProbePoint{0, 1, 1};
    EXPECT_THROW(runner.run(noiseInput(64, 64), request, {}, {}), ModelError);
    request = {};
    request.flow = true;
    EXPECT_THROW(runner.run(noiseInput(64, 64), request, {}, {}), ModelError);
}

}  // namespace
}  // namespace atlas::engine
