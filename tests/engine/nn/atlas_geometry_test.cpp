// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_geometry.h"

#include <gtest/gtest.h>

namespace atlas::engine {
namespace {

TEST(LegalSide, IsTheNextSizeOfTheSpecification) {
    // Spec 11: {32, 48, 64} * 4^j for w = 16, r = 4; below w the tokens themselves, at least 2.
    EXPECT_EQ(legalSide(1, 16, 4), 2);
    EXPECT_EQ(legalSide(9, 16, 4), 9);
    EXPECT_EQ(legalSide(17, 16, 4), 32);
    EXPECT_EQ(legalSide(33, 16, 4), 48);
    EXPECT_EQ(legalSide(49, 16, 4), 64);
    EXPECT_EQ(legalSide(82, 16, 4), 128);
    EXPECT_EQ(legalSide(69, 8, 4), 96);
}

TEST(LegalSide, RefusesWindowsThatThePoolDoesNotDivide) {
    EXPECT_THROW(legalSide(10, 6, 4), std::invalid_argument);
    EXPECT_THROW(legalSide(10, 1, 1), std::invalid_argument);
    EXPECT_THROW(legalSide(0, 16, 4), std::invalid_argument);
}

TEST(ListScales, FollowsTheTableOfSection2) {
    const auto scales = listScales(128, 16, 4);
    ASSERT_EQ(scales.size(), 3u);
    EXPECT_EQ(scales[0].rows, 8);
    EXPECT_EQ(scales[1].side, 32);
    EXPECT_EQ(scales[2].window, 8);
    EXPECT_EQ(listScales(128, 16, 4, 1).size(), 1u);
}

TEST(ParentWindow, RasterCutsEqualRunsNestedLooksUp) {
    EXPECT_EQ(parentWindow(5, 4, 2, WindowMapping::Raster), 1);  // 16 windows, runs of 4
    EXPECT_EQ(parentWindow(5, 4, 2, WindowMapping::Nested), 0);  // row 1, column 1
    EXPECT_EQ(parentWindow(7, 4, 2, WindowMapping::Nested), 1);
    EXPECT_EQ(parentWindow(13, 4, 1, WindowMapping::Nested),
              parentWindow(13, 4, 1, WindowMapping::Raster));
}

}  // namespace
}  // namespace atlas::engine
