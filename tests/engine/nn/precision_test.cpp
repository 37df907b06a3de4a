// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/precision.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

using Seconds = std::vector<double>;

TEST(Precision, Bfloat16HasToBeATenthQuicker) {
    EXPECT_TRUE(gainsByBfloat16({1.0}, {0.5}));
    EXPECT_FALSE(gainsByBfloat16({1.0}, {0.95}));
    EXPECT_FALSE(gainsByBfloat16({1.0}, {1.16}));
    EXPECT_FALSE(gainsByBfloat16({}, {0.5}));
    EXPECT_FALSE(gainsByBfloat16({1.0}, {}));
}

/// Another program took the processor during one or two of the measurements.
TEST(Precision, WhatDisturbsSomeMeasurementsDoesNotDecide) {
    EXPECT_FALSE(gainsByBfloat16(Seconds{3.0, 1.0, 2.5}, Seconds{1.2, 1.16, 1.3}));
    EXPECT_TRUE(gainsByBfloat16(Seconds{1.0, 1.1, 1.0}, Seconds{2.0, 3.0, 0.6}));
}

std::function<void()> sleeping(int milliseconds, int& calls) {
    return [milliseconds, &calls] {
        ++calls;
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    };
}

TEST(Precision, TheFasterWayIsTakenAndRemembered) {
    const test::TemporaryFolder folder;
    int slow = 0, quick = 0;
    EXPECT_TRUE(fasterInBfloat16(folder.path(), "gains", sleeping(40, slow), sleeping(4, quick)));
    EXPECT_FALSE(fasterInBfloat16(folder.path(), "loses", sleeping(4, quick), sleeping(40, slow)));
    EXPECT_GT(slow, 2);
    EXPECT_GT(quick, 2);
    slow = quick = 0;
    EXPECT_TRUE(fasterInBfloat16(folder.path(), "gains", sleeping(40, slow), sleeping(4, quick)));
    EXPECT_FALSE(fasterInBfloat16(folder.path(), "loses", sleeping(4, quick), sleeping(40, slow)));
    EXPECT_EQ(slow + quick, 0);
    EXPECT_EQ(rememberedFasterInBfloat16(folder.path(), "gains"), true);
    EXPECT_EQ(rememberedFasterInBfloat16(folder.path(), "loses"), false);
    EXPECT_EQ(rememberedFasterInBfloat16(folder.path(), "other"), std::nullopt);
    EXPECT_EQ(rememberedFasterInBfloat16({}, "gains"), std::nullopt);
}

TEST(Precision, WhoAsksForBfloat16LearnsThatItIsSlower) {
    EXPECT_EQ(bfloat16Warning(true, std::nullopt), "");
    EXPECT_EQ(bfloat16Warning(true, true), "");
    EXPECT_EQ(bfloat16Warning(false, true), "");
    EXPECT_NE(bfloat16Warning(false, std::nullopt).find("no tiles for bfloat16"),
              std::string::npos);
    EXPECT_NE(bfloat16Warning(false, false).find("measured to be slower"), std::string::npos);
    EXPECT_NE(bfloat16Warning(true, false).find("--precision auto"), std::string::npos);
}

}  // namespace
}  // namespace atlas::engine
