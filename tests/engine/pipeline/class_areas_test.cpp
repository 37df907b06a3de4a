// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/class_areas.h"

#include <gtest/gtest.h>

#include <limits>

namespace atlas::engine {
namespace {

TEST(ClassAreas, CountTheBorderWithThePartThatLiesInside) {
    io::GridRaster classes(2, 2, 1);
    classes.x = 100;
    classes.y = 50;
    classes.cellWidth = classes.cellHeight = 256;
    classes.values = {0, 1, 0, std::numeric_limits<float>::quiet_NaN()};
    // One column of pixels and 10 rows of the second cells lie in the region.
    const auto areas = classAreas(classes, {100, 50, 257, 266}, 3);
    EXPECT_DOUBLE_EQ(areas[0], 256 * 256 + 256 * 10);
    EXPECT_DOUBLE_EQ(areas[1], 1 * 256);
    EXPECT_DOUBLE_EQ(areas[2], 0);
    EXPECT_EQ(largestArea(areas), 0);
    const auto fractions = areaFractions(areas);
    EXPECT_NEAR(fractions[1], 256.0 / (256 * 267 + 256 * 10 - 256), 0.01);
    EXPECT_DOUBLE_EQ(fractions[0] + fractions[1] + fractions[2], 1);
}

TEST(ClassAreas, OfNothingAreNothing) {
    EXPECT_EQ(largestArea(classAreas({}, {0, 0, 10, 10}, 3)), -1);
    EXPECT_EQ(areaFractions({0, 0}), (std::vector<double>{0, 0}));
    EXPECT_EQ(largestArea({}), -1);
}

TEST(ClassAreas, IgnoreNumbersThatAreNoClass) {
    io::GridRaster classes(3, 1, 1);
    classes.values = {-1, 7, 1};
    const auto areas = classAreas(classes, {0, 0, 3, 1}, 2);
    EXPECT_EQ(areas, (std::vector<double>{0, 1}));
}

}  // namespace
}  // namespace atlas::engine
