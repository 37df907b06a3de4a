// SPDX-License-Identifier: Apache-2.0
// Readers over the shared files: real slides and rasters, and what is special in each.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "io/color_source.h"
#include "io/reader_registry.h"
#include "tests/support/test_data.h"

namespace atlas::io {
namespace {

namespace fs = std::filesystem;

std::string dataFile(const std::string& name) {
    return (test::dataRoot() / "data" / name).string();
}

#define OPEN(variable, name)            \
    ATLAS_REQUIRE_DATA(dataFile(name)); \
    const auto variable = openImage(dataFile(name))

TEST(OpenSlideReader, KnowsAnAperioSlide) {
    OPEN(slide, "slides/CMU-1-Small-Region.svs");
    EXPECT_EQ(slide->info().levels[0].width, 2220);
    EXPECT_TRUE(slide->info().slide);
    ASSERT_TRUE(slide->info().resolution);
    EXPECT_NEAR(slide->info().resolution->umPerPixelX, 0.499, 1e-6);
    EXPECT_EQ(slide->info().associatedImages.size(), 3u);
    EXPECT_GT(slide->associatedImage("label").width, 10);
    EXPECT_THROW(slide->associatedImage("nothing"), ReadError);
}

TEST(OpenSlideReader, LosesOnlyTheDeadTiles) {
    ATLAS_REQUIRE_DATA(dataFile("corrupt/cmu-3-dead-tiles.svs"));
    const auto sound = openImage(dataFile("slides/CMU-1-Small-Region.svs")),
               damaged = openImage(dataFile("corrupt/cmu-3-dead-tiles.svs"));
    const Rect rect{0, 0, 2220, 2967};
    const auto a = sound->readRegion(0, rect, {0, 1, 2}),
               b = damaged->readRegion(0, rect, {0, 1, 2});
    int64_t invalid = 0, changed = 0;
    for (size_t i = 0; i < b.valid.size(); ++i) {
        invalid += !b.valid[i];
        changed += b.valid[i] && !std::equal(&a.u8[3 * i], &a.u8[3 * i] + 3, &b.u8[3 * i]);
    }
    EXPECT_GT(invalid, 0);
    EXPECT_LE(invalid, 3 * 304 * 304);  // three tiles of 240 px, rounded outwards to 64 px
    EXPECT_EQ(changed, 0);
    EXPECT_FALSE(damaged->damage().empty());
}

TEST(GdalReader, ReadsGeoreferenceAndNodata) {
    OPEN(raster, "geo/RGB.byte.tif");
    ASSERT_TRUE(raster->info().georeference);
    EXPECT_NE(raster->info().georeference->crsName.find("EPSG:32618"), std::string::npos);
    EXPECT_NEAR(raster->info().resolution->umPerPixelX / 1e6, 300.04, 0.1);
    const auto block = raster->readRegion(0, {0, 0, 791, 718}, {0, 1, 2});
    EXPECT_EQ(block.valid[0], 0);  // nodata 0 in the corner
    EXPECT_EQ(block.valid[static_cast<size_t>(359) * 791 + 395], 1);
}

TEST(GdalReader, DoesNotTakeNearInfraredForAlpha) {
    OPEN(trap, "geo/va_naip-new.tif");
    EXPECT_FALSE(trap->info().maskBand);
    EXPECT_FALSE(trap->info().warnings.empty());
    const auto believed = openImage(dataFile("geo/va_naip-new.tif"), {AlphaChoice::Believe});
    EXPECT_TRUE(believed->info().maskBand);
    OPEN(real, "geo/pix4d_alpha_nodata.tif");
    EXPECT_TRUE(real->info().maskBand);
    const auto ignored = openImage(dataFile("geo/pix4d_alpha_nodata.tif"), {AlphaChoice::Ignore});
    EXPECT_FALSE(ignored->info().maskBand);
}

TEST(GdalReader, ReadsMasksPalettesAndFloats) {
    OPEN(masked, "geo/cog_rgb_mask.tif");
    EXPECT_TRUE(masked->info().maskBand);
    OPEN(palette, "geo/cog_cmap.tif");
    EXPECT_EQ(palette->info().bands.size(), 3u);
    OPEN(floats, "geo/float_nan.tif");
    const auto block = floats->readRegion(0, {0, 0, 3, 2}, {0});
    EXPECT_TRUE(block.isFloat);
    for (size_t i = 0; i < block.valid.size(); ++i)
        EXPECT_EQ(block.valid[i] == 0, std::isnan(block.f32[i]));
}

TEST(GdalReader, KnowsSouthUpAndRotatedRasters) {
    OPEN(southUp, "geo/inverted_lat.tif");
    EXPECT_GT(southUp->info().georeference->transform[5], 0);
    OPEN(rotated, "geo/rotated.tif");
    ASSERT_TRUE(rotated->info().georeference);
    EXPECT_NE(rotated->info().georeference->transform[2], 0);
}

TEST(GdalReader, ListsSubdatasets) {
    OPEN(container, "geo/RGB.nc");
    EXPECT_EQ(container->info().subdatasets.size(), 3u);
    const auto second = openImage(container->info().subdatasets[1]);
    EXPECT_EQ(second->info().levels[0].width, 791);
}

TEST(Resolution, DefaultTagsAreNotBelieved) {
    OPEN(mosaic, "train/ucm_val_mosaic.tif");
    EXPECT_FALSE(mosaic->info().resolution);
    EXPECT_FALSE(mosaic->info().warnings.empty());
    OPEN(boxes, "slides/boxes.tiff");
    EXPECT_FALSE(boxes->info().resolution);
    EXPECT_TRUE(isDefaultResolution(352.77));
    EXPECT_FALSE(isDefaultResolution(0.25));
}

TEST(Readers, OverviewsAgreeWithFullResolution) {
    OPEN(source, "geo/cog_world.tif");
    EXPECT_GE(source->levelCount(), 6);
    const auto cache = std::make_shared<TileCache>(64 << 20);
    const ColorSource image(source, defaultDisplay(source->info()), cache);
    EXPECT_LE(image.levels().back().width, 512);
}

TEST(Readers, AreThreadSafe) {
    OPEN(source, "geo/RGB.byte.tif");
    const auto expected = source->readRegion(0, {100, 100, 300, 300}, {0, 1, 2});
    std::vector<std::jthread> threads;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 6; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 5; ++n)
                wrong += source->readRegion(0, {100, 100, 300, 300}, {0, 1, 2}).u8 != expected.u8;
        });
    threads.clear();
    EXPECT_EQ(wrong, 0);
}

TEST(Readers, NamePathAndCause) {
    const auto errorOf = [](const std::string& path) -> std::string {
        try {
            openImage(path);
        } catch (const ReadError& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_EQ(errorOf("/nonexistent.svs"), "/nonexistent.svs: there is no such file");
    EXPECT_NE(errorOf("/tmp").find("is a folder"), std::string::npos);
    ATLAS_REQUIRE_DATA(dataFile("corrupt/cmu-truncated.svs"));
    EXPECT_NE(errorOf(dataFile("corrupt/cmu-truncated.svs")).find("cmu-truncated.svs: "),
              std::string::npos);
}

/// Every shared image opens and reads, or names the codec that is missing.
TEST(Readers, OpenEverySharedImage) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data" / "geo");
    int opened = 0;
    for (const char* folder : {"slides", "geo"})
        for (const auto& entry :
             fs::recursive_directory_iterator(test::dataRoot() / "data" / folder)) {
            if (!entry.is_regular_file() || !looksLikeImage(entry.path())) continue;
            try {
                const auto source = openImage(entry.path().string());
                const auto& level = source->info().levels[0];
                source->readRegion(0,
                                   {0, 0, std::min<int64_t>(level.width, 512),
                                    std::min<int64_t>(level.height, 512)},
                                   {0});
                if (!source->damage().empty())
                    throw ReadError(entry.path().string() + ": " + source->damage()[0]);
                ++opened;
            } catch (const ReadError& error) {
                const std::string text = error.what();
                const std::string name = entry.path().filename().string();
                // GDAL 3.6 of Debian has no JPEG XL and no 12-bit JPEG.
                EXPECT_TRUE(name.find("JXL") != std::string::npos ||
                            name == "mandrilmini_12bitjpeg.tif")
                    << text;
                EXPECT_NE(text.find(name), std::string::npos) << text;
            }
        }
    EXPECT_GT(opened, 150);
}

}  // namespace
}  // namespace atlas::io
