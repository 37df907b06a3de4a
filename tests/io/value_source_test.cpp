// SPDX-License-Identifier: Apache-2.0
#include "io/value_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace atlas::io {
namespace {

constexpr float kMissing = -9999;

/// Band 0: 1000 + x + 100 y; band 1: its negative. A hole of nodata in both at (4, 4), in band 1
/// alone at (6, 2).
class Numbers : public ImageSource {
  public:
    Numbers() {
        info_.path = "numbers";
        info_.type = SampleType::Int16;
        info_.levels = {{16, 12, 1, 16, 12}, {8, 6, 2, 8, 6}};
        info_.bands = {{"first", BandRole::Other, kMissing, 0.5, 10},
                       {"second", BandRole::Other, kMissing}};
    }
    const ImageInfo& info() const override { return info_; }
    RasterBlock readRegion(int level, const Rect& rect,
                           const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        EXPECT_EQ(level, expectedLevel);
        const int step = level == 0 ? 1 : 2;
        RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                          static_cast<int>(bands.size()), true);
        for (int y = 0; y < block.height; ++y)
            for (int x = 0; x < block.width; ++x) {
                const int64_t px = (rect.x + x) * step, py = (rect.y + y) * step;
                if (px < 0 || py < 0 || px >= 16 || py >= 12) continue;
                const auto at = static_cast<size_t>(y * block.width + x);
                const bool hole = px == 4 && py == 4;
                block.valid[at] = !hole;
                for (size_t b = 0; b < bands.size(); ++b) {
                    const float value = static_cast<float>(1000 + px + 100 * py);
                    const bool missing = hole || (bands[b] == 1 && px == 6 && py == 2);
                    block.f32[at * bands.size() + b] = missing         ? kMissing
                                                       : bands[b] == 0 ? value
                                                                       : -value;
                }
            }
        return block;
    }
    int expectedLevel = 0;

  private:
    ImageInfo info_;
};

TEST(ValueSource, GivesTheNumbersAsTheyAre) {
    const Numbers source;
    const auto block = resampleValues(source, {0, 1}, 2, 1, 6, 5, 6, 5, false);
    for (int y = 0; y < 5; ++y)
        for (int x = 0; x < 6; ++x) {
            const auto at = static_cast<size_t>(y * 6 + x);
            const float value = static_cast<float>(1000 + (x + 2) + 100 * (y + 1));
            const bool hole = x + 2 == 4 && y + 1 == 4, half = x + 2 == 6 && y + 1 == 2;
            EXPECT_EQ(block.valid[at], !hole);
            EXPECT_EQ(block.values[2 * at], hole ? 0 : value);
            EXPECT_EQ(block.values[2 * at + 1], hole || half ? 0 : -value);
        }
}

TEST(ValueSource, AppliesScaleAndOffsetWhereAsked) {
    const Numbers source;
    const auto block = resampleValues(source, {1, 0}, 3, 2, 1, 1, 1, 1, true);
    EXPECT_FLOAT_EQ(block.values[0], -1203);
    EXPECT_FLOAT_EQ(block.values[1], 0.5f * 1203 + 10);
}

TEST(ValueSource, AveragesWhatIsThere) {
    const Numbers source;
    // 1.5 x 1.5 pixels each, all of them whole or halved.
    const auto block = resampleValues(source, {0}, 0, 0, 3, 3, 2, 2, false);
    EXPECT_NEAR(block.values[0], (1000 + 0.5 * 1001 + 0.5 * 1100 + 0.25 * 1101) / 2.25, 1e-3);
    // Around the hole: the mean of the three others.
    const Numbers other;
    const auto hole = resampleValues(other, {0}, 4, 4, 1.9, 1.9, 1, 1, false);
    EXPECT_NEAR(hole.values[0], (0.9 * 1405 + 0.9 * 1504 + 0.81 * 1505) / (0.9 + 0.9 + 0.81), 1e-3);
}

TEST(ValueSource, TakesTheNearestFinerLevel) {
    Numbers source;
    source.expectedLevel = 1;
    const auto block = resampleValues(source, {0}, 0, 0, 8, 4, 4, 2, false);
    EXPECT_EQ(block.values[0], 1000);
    EXPECT_EQ(block.values[5], 1000 + 2 + 200);
}

TEST(ValueSource, MarksWhatLiesOutside) {
    const Numbers source;
    const auto block = resampleValues(source, {0}, -2, 10, 4, 4, 4, 4, false);
    for (int y = 0; y < 4; ++y)
        for (int x = 0; x < 4; ++x)
            EXPECT_EQ(block.valid[static_cast<size_t>(4 * y + x)], x >= 2 && y < 2);
    EXPECT_EQ(block.values[0], 0);
    EXPECT_EQ(block.values[3], 1000 + 1 + 1000);
}

TEST(ValueSource, EnlargesLinearly) {
    const Numbers source;
    const auto block = resampleValues(source, {0}, 8, 2, 2, 2, 4, 4, false);
    EXPECT_NEAR(block.values[5], 1208.25 + 25, 1e-3);  // a quarter between two centres
    EXPECT_NEAR(block.values[6], 1208.75 + 25, 1e-3);
}

}  // namespace
}  // namespace atlas::io
