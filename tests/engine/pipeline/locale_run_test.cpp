// SPDX-License-Identifier: Apache-2.0
// Runs in a process whose locale has a decimal comma: the same files, and they open again.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/nn/machine.h"
#include "engine/pipeline/run_folder.h"
#include "tests/support/comma_locale.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

using test::runOf, test::sceneRequest, test::textOf;

TEST(DecimalComma, ARunWritesTheSameNumbersAndOpensAgain) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path() / "point", "synthetic:size=2048,seed=4");
    const RunOutcome point = runOf(request);
    ASSERT_EQ(point.state, RunState::Done) << point.error;
    const test::CommaLocale comma;
    request.out = folder.path() / "comma";
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    for (const char* name : {"tiles.csv", "tiles_qupath.geojson", "summary.json"})
        EXPECT_EQ(textOf(outcome.folder / name), textOf(point.folder / name)) << name;
    const LoadedRun run = loadRun(outcome.folder), before = loadRun(point.folder);
    ASSERT_EQ(run.tiles.size(), 4u);
    for (size_t i = 0; i < run.tiles.size(); ++i) {
        EXPECT_EQ(run.tiles[i].x, before.tiles[i].x);
        EXPECT_EQ(run.tiles[i].probabilities, before.tiles[i].probabilities);
    }
    ASSERT_EQ(run.layers.attention.size(), 3u);
    EXPECT_EQ(run.layers.attention[1].cellWidth, before.layers.attention[1].cellWidth);
    EXPECT_EQ(run.layers.attention[1].values, before.layers.attention[1].values);
    const auto json = nlohmann::json::parse(textOf(outcome.folder / "run.json"));
    EXPECT_GT(json["times"]["seconds"].get<double>(), 0);
}

TEST(DecimalComma, ResolutionsAreUnderstoodAndWritten) {
    const test::CommaLocale comma;
    EXPECT_DOUBLE_EQ(parseResolution("0.3m"), 300000);
    EXPECT_DOUBLE_EQ(parseResolution("0,3m"), 300000);
    EXPECT_DOUBLE_EQ(parseResolution(" 0,25 \xc2\xb5m"), 0.25);
    for (const char* bad : {"0,3", "1.234,5 m", "0.3,m", ",m", "1e306km"})
        EXPECT_THROW(parseResolution(bad), std::invalid_argument) << bad;
    EXPECT_EQ(lengthText(0.499, false), "0.499 \xc2\xb5m");
    EXPECT_EQ(lengthText(1.2e9, true), "1.2 km");
    EXPECT_EQ(memoryText(int64_t{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace atlas::engine
