// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "io/color_source.h"
#include "io/export/raster_file.h"
#include "io/reader_registry.h"
#include "io/synthetic/scene.h"
#include "io/synthetic/synthetic_source.h"
#include "tests/support/temporary_folder.h"

namespace atlas::io {
namespace {

TEST(SyntheticScene, IsTheSameForTheSameSeedAndAnyTiling) {
    const SyntheticScene scene(5), again(5), other(6);
    std::vector<uint8_t> whole(64 * 64 * 3), part(16 * 16 * 3), different(64 * 64 * 3);
    scene.render(1000, 2000, 1, 64, 64, whole.data());
    other.render(1000, 2000, 1, 64, 64, different.data());
    again.render(1032, 2016, 1, 16, 16, part.data());
    for (int y = 0; y < 16; ++y)
        for (int x = 0; x < 16 * 3; ++x)
            ASSERT_EQ(part[static_cast<size_t>(y * 16 * 3 + x)],
                      whole[static_cast<size_t>(((16 + y) * 64 + 32) * 3 + x)]);
    EXPECT_NE(whole, different);
}

TEST(SyntheticScene, HoldsEveryClassSomewhere) {
    const SyntheticScene scene(1);
    std::set<int> seen;
    for (int64_t y = 0; y < 200000; y += 3000)
        for (int64_t x = 0; x < 200000; x += 3000) seen.insert(scene.classAt(x, y));
    EXPECT_EQ(seen.size(), static_cast<size_t>(SyntheticScene::kClasses));
}

TEST(SyntheticScene, PivotsStandFartherApartThanASmallWindowSees) {
    // Own window of 8 x 8 tokens and the stem's 87 px on each side: 302 px.
    EXPECT_GE(SyntheticScene::kLatticePx - 2 * SyntheticScene::kPivotRadiusPx, 302);
}

TEST(SyntheticSource, OpensAMillionPixelsASideOfNoMemory) {
    const auto source = openImage("synthetic:size=1000000,seed=9");
    EXPECT_EQ(source->info().levels[0].width, 1000000);
    const auto block = source->readRegion(0, {999900, 999900, 200, 200}, {0, 1, 2});
    EXPECT_EQ(block.valid[0], 1);
    EXPECT_EQ(block.valid[150], 0);  // outside
    EXPECT_THROW(openImage("synthetic:size=5,seed=1"), ReadError);
    EXPECT_THROW(openImage("synthetic:nonsense"), ReadError);
}

TEST(Sample, WritesAPyramidWithItsTruth) {
    const test::TemporaryFolder folder;
    const auto path = (folder.path() / "s.tif").string();
    writeSample(1500, 3, path);
    const auto source = openImage(path);
    EXPECT_EQ(source->info().levels[0].width, 1500);
    EXPECT_GT(source->levelCount(), 1);
    ASSERT_TRUE(source->info().resolution);
    EXPECT_NEAR(source->info().resolution->umPerPixelX, 500000, 1);
    const GridRaster truth = readRasterFile(folder.path() / "s.truth.tif");
    const SyntheticScene scene(3);
    for (int i = 0; i < 90; i += 7)
        EXPECT_EQ(static_cast<int>(truth.at(0, i, 90 - i)),
                  scene.classAt(i * 16 + 8, (90 - i) * 16 + 8));
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "s.tmp.tif"));
}

TEST(Sample, SaysWhereItCannotWrite) {
    try {
        writeSample(64, 1, "/nonexistent/folder/s.tif");
        FAIL() << "nothing was thrown";
    } catch (const ReadError& error) {
        EXPECT_NE(std::string(error.what()).find("/nonexistent/folder"), std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace atlas::io
