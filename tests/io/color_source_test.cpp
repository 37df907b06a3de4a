// SPDX-License-Identifier: Apache-2.0
#include "io/color_source.h"

#include <gtest/gtest.h>

#include <cmath>

namespace atlas::io {
namespace {

/// A ramp of float values with a hole, one level.
class RampSource : public ImageSource {
  public:
    explicit RampSource(int64_t side) {
        info_.path = "ramp";
        info_.levels = {{side, side, 1, 256, 256}};
        info_.type = SampleType::Float32;
        info_.bands = {{"value", BandRole::Grey, {}}};
    }
    const ImageInfo& info() const override { return info_; }
    RasterBlock readRegion(int level, const Rect& rect,
                           const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                          static_cast<int>(bands.size()), true);
        for (int64_t y = 0; y < rect.height; ++y)
            for (int64_t x = 0; x < rect.width; ++x) {
                const auto at = static_cast<size_t>(y * rect.width + x);
                const int64_t px = rect.x + x, py = rect.y + y;
                if (px < 0 || py < 0 || px >= info_.levels[0].width ||
                    py >= info_.levels[0].height || (px < 10 && py < 10))
                    continue;
                block.valid[at] = 1;
                for (size_t b = 0; b < bands.size(); ++b)
                    block.f32[at * bands.size() + b] = static_cast<float>(px);
            }
        return block;
    }

  private:
    ImageInfo info_;
};

std::unique_ptr<ColorSource> rampOf(int64_t side) {
    auto source = std::make_shared<RampSource>(side);
    return std::make_unique<ColorSource>(source, defaultDisplay(source->info()),
                                         std::make_shared<TileCache>(64 << 20));
}

TEST(ColorSource, StretchesBetweenPercentilesAndLeavesOutNodata) {
    const auto image = rampOf(1000);
    EXPECT_NEAR(image->settings().range[0][0], 20, 3);
    EXPECT_NEAR(image->settings().range[0][1], 980, 3);
    const RgbaImage row = image->region(0, {0, 500, 1000, 1});
    EXPECT_EQ(row.pixel(0, 0)[0], 0);
    EXPECT_NEAR(row.pixel(500, 0)[0], 128, 2);
    EXPECT_EQ(row.pixel(999, 0)[0], 255);
    EXPECT_EQ(image->region(0, {5, 5, 1, 1}).pixel(0, 0)[3], 0);
}

TEST(ColorSource, MakesCoarserLevelsByAveraging) {
    const auto image = rampOf(2000);
    ASSERT_EQ(image->levels().size(), 3u);
    EXPECT_EQ(image->levels()[2].width, 500);
    const RgbaImage coarse = image->region(2, {250, 100, 1, 1});
    EXPECT_NEAR(coarse.pixel(0, 0)[0], image->region(0, {1001, 400, 1, 1}).pixel(0, 0)[0], 1);
}

TEST(ColorSource, ResamplesToAnyResolution) {
    const auto image = rampOf(1000);
    const auto grey = [&](double x) {
        return std::clamp((x - image->settings().range[0][0]) * 255 /
                              (image->settings().range[0][1] - image->settings().range[0][0]),
                          0.0, 255.0);
    };
    const RgbaImage smaller = image->resample(100, 100, 700, 700, 70, 70);
    EXPECT_NEAR(smaller.pixel(35, 35)[0], grey(100 + 35.5 * 10 - 0.5), 2);
    const RgbaImage larger = image->resample(100, 100, 50, 50, 200, 200);
    EXPECT_NEAR(larger.pixel(100, 100)[0], grey(100 + 100.5 / 4 - 0.5), 2);
    const RgbaImage outside = image->resample(-50, -50, 100, 100, 100, 100);
    EXPECT_EQ(outside.pixel(10, 10)[3], 0);
    EXPECT_EQ(outside.pixel(80, 80)[3], 255);
}

TEST(ColorSource, RefusesBandsThatAreNotThere) {
    auto source = std::make_shared<RampSource>(100);
    DisplaySettings settings;
    settings.bands = {0, 1, 2};
    EXPECT_THROW(ColorSource(source, settings, std::make_shared<TileCache>(1 << 20)), ReadError);
}

}  // namespace
}  // namespace atlas::io
