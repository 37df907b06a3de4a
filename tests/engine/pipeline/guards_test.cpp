// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/guards.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/pipeline/compare_runs.h"

namespace atlas::engine {
namespace {

RunRecord recordWith(double umPerPixel, size_t contexts, float step) {
    RunRecord record;
    record.model.spacingUmPx = 0.5;
    record.model.mean = {0.5f, 0.5f, 0.5f};
    record.model.std = {0.2f, 0.2f, 0.2f};
    record.plan.umPerPixelX = record.plan.umPerPixelY = umPerPixel;
    for (size_t i = 0; i < contexts; ++i)
        record.rows.push_back({{}, {0.6f + step * static_cast<float>(i), 0.4f}, {}});
    return record;
}

ColourStatistics coloursOf(uint8_t value) {
    ColourStatistics colours;
    ContextPixels context{std::vector<uint8_t>(64 * 64 * 4, value)};
    for (size_t i = 3; i < context.rgba.size(); i += 4) context.rgba[i] = 255;
    colours.add(context);
    return colours;
}

TEST(Guards, AreQuietWhereNothingIsWrong) {
    EXPECT_TRUE(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(128), 0.1).empty());
    EXPECT_TRUE(guardWarnings(recordWith(0.25, 3, 0), coloursOf(128), 0).empty());
    ContextPixels empty{std::vector<uint8_t>(64 * 64 * 4, 0)};
    ColourStatistics nothing;
    nothing.add(empty);
    EXPECT_EQ(nothing.count(), 0);
    EXPECT_TRUE(guardWarnings(recordWith(0.5, 3, 0), nothing, 0).empty());
}

TEST(Guards, SayWhatIsWrong) {
    const auto only = [](const std::vector<std::string>& warnings) {
        return warnings.size() == 1 ? warnings[0] : std::to_string(warnings.size()) + " warnings";
    };
    EXPECT_NE(only(guardWarnings(recordWith(1.0, 20, 0.01f), coloursOf(128), 0)).find("2.0 times"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(235), 0)).find("colours"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0), coloursOf(128), 0)).find("same answer"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(128), 0.7)).find("70 %"),
              std::string::npos);
}

LoadedRun runWith(std::vector<std::string> names, std::vector<float> classes, double x,
                  double cell) {
    LoadedRun run;
    run.classNames = std::move(names);
    run.layers.classes = io::GridRaster(static_cast<int>(classes.size()), 1, 1);
    run.layers.classes.values = std::move(classes);
    run.layers.classes.x = x;
    run.layers.classes.cellWidth = run.layers.classes.cellHeight = cell;
    return run;
}

TEST(CompareRuns, GoesByNameAndPlace) {
    // The second names its classes otherwise, and has cells of half the size.
    const LoadedRun a = runWith({"field", "water"}, {0, 1, NAN, 0}, 0, 100),
                    b = runWith({"water", "field", "rock"}, {1, 1, 0, 2, 0, 0, 1, 1}, 0, 50);
    const RunComparison c = compareRuns(a, b);
    EXPECT_EQ(c.classNames, (std::vector<std::string>{"field", "water", "rock"}));
    EXPECT_EQ(c.compared, 6);  // two cells lie where the first says nothing
    EXPECT_EQ(c.same, 5);
    EXPECT_EQ(c.confusion[1][2], 1);  // water became rock
    EXPECT_EQ(c.confusion[0][0], 4);
    EXPECT_EQ(c.difference.at(0, 3, 0), 1);
    EXPECT_EQ(c.difference.at(0, 2, 0), 0);
    EXPECT_TRUE(std::isnan(c.difference.at(0, 4, 0)));
    EXPECT_NEAR(compareRuns(b, a).agreement(), c.agreement(), 1e-12);
    EXPECT_THROW(compareRuns(a, runWith({"field"}, {0, 0}, 5000, 10)), std::runtime_error);
}

}  // namespace
}  // namespace atlas::engine
