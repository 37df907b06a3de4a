// SPDX-License-Identifier: Apache-2.0
// Result rasters as other programs see them: where they lie, and how large their cells are.
#include "io/export/raster_file.h"

#include <gdal.h>
#include <gtest/gtest.h>
#include <tiffio.h>

#include <cmath>
#include <cstdlib>

#include "io/reader_registry.h"
#include "io/tiff/tiff_resolution.h"
#include "tests/support/temporary_folder.h"

namespace atlas::io {
namespace {

GridRaster gridOf(double x, double y, double cellWidth, double cellHeight) {
    GridRaster raster(7, 5, 1);
    raster.x = x;
    raster.y = y;
    raster.cellWidth = cellWidth;
    raster.cellHeight = cellHeight;
    raster.bandNames = {"value"};
    return raster;
}

/// The numerator and denominator of a tag, as the file holds them.
std::array<uint32_t, 2> rationalOf(const std::string& path, uint16_t wanted) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    const auto number = [&](int bytes) {
        uint64_t value = 0;
        for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(std::fgetc(file)) << (8 * i);
        return value;
    };
    EXPECT_EQ(number(2), 0x4949u);
    EXPECT_EQ(number(2), 42u);
    std::fseek(file, static_cast<long>(number(4)), SEEK_SET);
    std::array<uint32_t, 2> rational{};
    for (uint64_t left = number(2); left > 0; --left) {
        const uint64_t tag = number(2);
        number(6);
        const uint64_t value = number(4);
        if (tag != wanted) continue;
        std::fseek(file, static_cast<long>(value), SEEK_SET);
        rational = {static_cast<uint32_t>(number(4)), static_cast<uint32_t>(number(4))};
        break;
    }
    std::fclose(file);
    return rational;
}

TEST(RasterFile, ResolutionTagsAreExact) {
    const test::TemporaryFolder folder;
    const std::string path = (folder.path() / "cells.tif").string();
    RasterFileOptions options;
    options.umPerPixelX = options.umPerPixelY = 5e5;  // half a metre
    writeRasterFile(path, gridOf(0, 0, 1024, 512), options);
    const auto x = rationalOf(path, TIFFTAG_XRESOLUTION), y = rationalOf(path, TIFFTAG_YRESOLUTION);
    // Cells of 512 m and 256 m: one in so many centimetres.
    EXPECT_EQ(x, (std::array<uint32_t, 2>{1, 51200}));
    EXPECT_EQ(y, (std::array<uint32_t, 2>{1, 25600}));
}

TEST(RasterFile, FractionsAreTheSimplest) {
    using Fraction = std::array<uint32_t, 2>;
    EXPECT_EQ(simplestFraction(0.5), (Fraction{1, 2}));
    EXPECT_EQ(simplestFraction(10000 / 0.499), (Fraction{10000000, 499}));
    EXPECT_EQ(simplestFraction(40000), (Fraction{40000, 1}));
    EXPECT_EQ(simplestFraction(0), (Fraction{0, 1}));
    EXPECT_EQ(simplestFraction(1e30)[1], 1u);
    EXPECT_EQ(simplestFraction(1e-30)[0], 1u);
}

TEST(RasterFile, BothResolutionsComeBack) {
    const test::TemporaryFolder folder;
    const std::string path = (folder.path() / "cells.tif").string();
    RasterFileOptions options;
    options.umPerPixelX = 0.25;
    options.umPerPixelY = 0.5;
    writeRasterFile(path, gridOf(0, 0, 2, 3), options);
    const auto info = openImage(path)->info();
    ASSERT_TRUE(info.resolution);
    EXPECT_NEAR(info.resolution->umPerPixelX, 0.5, 1e-6);
    EXPECT_NEAR(info.resolution->umPerPixelY, 1.5, 1e-6);
}

TEST(RasterFile, ResultsOfPlainImagesLieOverThemInAGis) {
    const test::TemporaryFolder folder;
    const std::string path = (folder.path() / "cells.tif").string();
    writeRasterFile(path, gridOf(100, 50, 16, 8), {});
    GDALDatasetH file = GDALOpen(path.c_str(), GA_ReadOnly);
    ASSERT_TRUE(file);
    std::array<double, 6> transform{};
    EXPECT_EQ(GDALGetGeoTransform(file, transform.data()), CE_None);
    // A GIS lays an image without a transform from (0, 0) to the right and downwards.
    EXPECT_EQ(transform, (std::array<double, 6>{100, 16, 0, -50, 0, -8}));
    EXPECT_STREQ(GDALGetProjectionRef(file), "");
    GDALClose(file);
    const GridRaster back = readRasterFile(path);
    EXPECT_EQ(back.x, 100);
    EXPECT_EQ(back.y, 50);
    EXPECT_EQ(back.cellWidth, 16);
    EXPECT_EQ(back.cellHeight, 8);
}

TEST(RasterFile, CellsOfNoSizeAreRefused) {
    const test::TemporaryFolder folder;
    const std::string path = (folder.path() / "cells.tif").string();
    writeRasterFile(path, gridOf(0, 0, 16, 8), {});
    for (const char* size : {"0", "-1", "inf"}) {
        GDALDatasetH file = GDALOpen(path.c_str(), GA_Update);
        GDALSetMetadataItem(file, "ATLAS_CELL_WIDTH", size, nullptr);
        GDALClose(file);
        EXPECT_THROW(readRasterFile(path), ReadError) << size;
    }
}

}  // namespace
}  // namespace atlas::io
