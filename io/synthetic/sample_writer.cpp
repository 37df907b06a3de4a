// SPDX-License-Identifier: Apache-2.0
#include <cpl_conv.h>
#include <cpl_string.h>
#include <ogr_srs_api.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "io/export/raster_file.h"
#include "io/gdal/gdal_support.h"
#include "io/synthetic/scene.h"
#include "io/synthetic/synthetic_source.h"

namespace atlas::io {
namespace {

constexpr int kTile = 512;
constexpr int64_t kTruthCellPx = 16;
constexpr double kEasting = 500000, kNorthing = 5400000;

GeoReference sampleGeoreference() {
    GeoReference geo;
    const double m = SyntheticScene::kMetresPerPixel;
    geo.transform = {kEasting, m, 0, kNorthing, 0, -m};
    OGRSpatialReferenceH crs = OSRNewSpatialReference(nullptr);
    OSRImportFromEPSG(crs, 32631);
    char* wkt = nullptr;
    if (OSRExportToWkt(crs, &wkt) == OGRERR_NONE && wkt) geo.wkt = wkt;
    CPLFree(wkt);
    OSRDestroySpatialReference(crs);
    return geo;
}

void writePixels(int64_t size, const SyntheticScene& scene, const std::string& path,
                 const GdalMessages& messages, WriteProgress progress, void* context) {
    char** options = nullptr;
    for (const char* option : {"TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "COMPRESS=JPEG",
                               "PHOTOMETRIC=YCBCR", "JPEG_QUALITY=90", "BIGTIFF=IF_SAFER"})
        options = CSLAddString(options, option);
    const int side = static_cast<int>(size);
    Dataset file(
        GDALCreate(GDALGetDriverByName("GTiff"), path.c_str(), side, side, 3, GDT_Byte, options));
    CSLDestroy(options);
    const auto check = [&](bool good) {
        if (!good)
            throw ReadError(path + ": " + messages.cause("cannot be written (is the disk full?)"));
    };
    check(file != nullptr);
    auto geo = sampleGeoreference();
    GDALSetGeoTransform(file.get(), geo.transform.data());
    GDALSetProjection(file.get(), geo.wkt.c_str());
    std::vector<uint8_t> row;
    for (int y = 0; y < side; y += kTile) {
        const int height = std::min(kTile, side - y);
        row.resize(static_cast<size_t>(side) * height * 3);
        scene.render(0, y, 1, side, height, row.data());
        check(GDALDatasetRasterIO(file.get(), GF_Write, 0, y, side, height, row.data(), side,
                                  height, GDT_Byte, 3, nullptr, 3, 3 * side, 1) == CE_None);
        if (progress && !progress(0.8 * (y + height) / side, context))
            throw ReadError(path + ": cancelled");
    }
    std::vector<int> factors;
    for (int f = 2; side / f >= 256; f *= 2) factors.push_back(f);
    if (!factors.empty())
        check(GDALBuildOverviews(file.get(), "AVERAGE", static_cast<int>(factors.size()),
                                 factors.data(), 0, nullptr, nullptr, nullptr) == CE_None);
    file.reset();
    check(!messages.failed());
}

void writeTruth(int64_t size, const SyntheticScene& scene, const std::filesystem::path& path) {
    const int cells = static_cast<int>((size + kTruthCellPx - 1) / kTruthCellPx);
    GridRaster truth(cells, cells, 1);
    truth.cellWidth = truth.cellHeight = kTruthCellPx;
    truth.bandNames = {"class"};
    for (int row = 0; row < cells; ++row)
        for (int column = 0; column < cells; ++column)
            truth.at(0, column, row) = static_cast<float>(scene.classAt(
                column * kTruthCellPx + kTruthCellPx / 2, row * kTruthCellPx + kTruthCellPx / 2));
    RasterFileOptions options;
    options.classes = true;
    options.georeference = sampleGeoreference();
    for (const auto& kind : SyntheticScene::classes()) {
        options.classNames.emplace_back(kind.name);
        options.classColors.push_back(kind.color);
    }
    writeRasterFile(path, truth, options);
}

}  // namespace

void writeSample(int64_t size, uint64_t seed, const std::string& path, WriteProgress progress,
                 void* context) {
    if (size < 16 || size > 200'000)
        throw ReadError(
            "a sample file has a side of 16 to 200000 px; larger scenes open as "
            "synthetic:size=N,seed=S");
    initialiseGdal();
    GdalMessages messages;
    const SyntheticScene scene(seed);
    const std::filesystem::path final(path),
        temporary = final.parent_path() / (final.stem().string() + ".tmp.tif");
    try {
        writePixels(size, scene, temporary.string(), messages, progress, context);
        writeTruth(size, scene, final.parent_path() / (final.stem().string() + ".truth.tif"));
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove(temporary, ignored);
        throw;
    }
    std::error_code error;
    std::filesystem::rename(temporary, final, error);
    if (error) throw ReadError(path + ": " + error.message());
    if (progress) progress(1, context);
}

}  // namespace atlas::io
