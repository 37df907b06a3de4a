// SPDX-License-Identifier: Apache-2.0
// Readers and writers in a process whose locale has a decimal comma.
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>

#include "io/color_source.h"
#include "io/export/raster_file.h"
#include "io/image_archive.h"
#include "io/reader_registry.h"
#include "tests/support/comma_locale.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::io {
namespace {

TEST(DecimalComma, ASlideTellsItsResolution) {
    const auto path = test::dataRoot() / "data/slides/CMU-1-Small-Region.svs";
    ATLAS_REQUIRE_DATA(path);
    const test::CommaLocale comma;
    const auto slide = openImage(path.string());
    ASSERT_TRUE(slide->info().resolution);
    EXPECT_NEAR(slide->info().resolution->umPerPixelX, 0.499, 1e-9);
    EXPECT_NEAR(slide->info().resolution->umPerPixelY, 0.499, 1e-9);
}

TEST(DecimalComma, GridsAndResolutionTagsReadBack) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "grid.tif";
    const test::CommaLocale comma;
    GridRaster raster(4, 3, 1);
    std::fill(raster.values.begin(), raster.values.end(), 0.25f);
    raster.x = 1024.5;
    raster.y = -0.125;
    raster.cellWidth = 3.25;
    raster.cellHeight = 1.0 / 3;
    RasterFileOptions options;
    options.umPerPixelX = options.umPerPixelY = 0.2525;
    writeRasterFile(path, raster, options);
    const GridRaster again = readRasterFile(path);
    EXPECT_EQ(again.x, raster.x);
    EXPECT_EQ(again.y, raster.y);
    EXPECT_EQ(again.cellWidth, raster.cellWidth);
    EXPECT_EQ(again.cellHeight, raster.cellHeight);
    const auto image = openImage(path.string());
    ASSERT_TRUE(image->info().resolution);
    EXPECT_NEAR(image->info().resolution->umPerPixelX, 0.2525 * 3.25, 1e-6);
}

TEST(DecimalComma, AGeoreferenceIsRead) {
    const auto path = test::dataRoot() / "data/geo/RGB.byte.tif";
    ATLAS_REQUIRE_DATA(path);
    const auto before = openImage(path.string());
    const test::CommaLocale comma;
    const auto image = openImage(path.string());
    ASSERT_TRUE(image->info().georeference && image->info().resolution);
    EXPECT_EQ(image->info().georeference->transform, before->info().georeference->transform);
    EXPECT_EQ(image->info().georeference->wkt, before->info().georeference->wkt);
    EXPECT_NEAR(image->info().resolution->umPerPixelX / 1e6, 300.04, 0.1);
}

TEST(TurkishLocale, EndingsAreKnownInCapitals) {
    const test::OtherLocale turkish(test::kTurkishLocale);
    EXPECT_NE(std::tolower('I'), 'i') << "the locale does not do what is tested";
    EXPECT_TRUE(looksLikeImage("SCAN.TIF"));
    EXPECT_TRUE(looksLikeImage("SCAN.NDPI"));
    EXPECT_FALSE(looksLikeImage("SCAN.TXT"));
    const test::TemporaryFolder folder;
    std::filesystem::create_directories(folder.path() / "class");
    std::ofstream(folder.path() / "class" / "A.TIF") << "II";
    EXPECT_EQ(ImageArchive(folder.path()).files().size(), 1u);
}

TEST(TurkishLocale, BandsAreFoundByTheirNames) {
    ImageInfo info;
    info.bands = {{"RED", BandRole::Other, {}}, {"NIR", BandRole::Other, {}}};
    const test::OtherLocale turkish(test::kTurkishLocale);
    ASSERT_TRUE(vegetationBands(info));
    EXPECT_EQ(*vegetationBands(info), (std::array<int, 2>{1, 0}));
}

}  // namespace
}  // namespace atlas::io
