// SPDX-License-Identifier: Apache-2.0
#include "io/export/raster_file.h"

#include <cpl_conv.h>
#include <cpl_string.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "io/gdal/gdal_support.h"
#include "io/numbers.h"
#include "io/tiff/tiff_resolution.h"

namespace atlas::io {
namespace {

constexpr int64_t kMaxCells = int64_t{1} << 30;

class OptionList {
  public:
    OptionList(std::initializer_list<const char*> items) {
        for (const char* item : items) list_ = CSLAddString(list_, item);
    }
    ~OptionList() { CSLDestroy(list_); }
    OptionList(const OptionList&) = delete;
    OptionList& operator=(const OptionList&) = delete;
    char** get() const { return list_; }

  private:
    char** list_ = nullptr;
};

[[noreturn]] void fail(const std::filesystem::path& path, const GdalMessages& messages) {
    throw ReadError(path.string() + ": " + messages.cause("cannot be written (is the disk full?)"));
}

void describeClasses(GDALDatasetH dataset, const RasterFileOptions& options, double missing) {
    GDALRasterBandH band = GDALGetRasterBand(dataset, 1);
    GDALColorTableH table = GDALCreateColorTable(GPI_RGB);
    char** names = nullptr;
    for (size_t i = 0; i < options.classNames.size(); ++i) {
        const auto& c = options.classColors[i];
        const GDALColorEntry entry{c[0], c[1], c[2], 255};
        GDALSetColorEntry(table, static_cast<int>(i), &entry);
        names = CSLAddString(names, options.classNames[i].c_str());
    }
    const GDALColorEntry clear{0, 0, 0, 0};
    if (missing < 256) GDALSetColorEntry(table, static_cast<int>(missing), &clear);
    GDALSetRasterColorTable(band, table);
    GDALSetRasterCategoryNames(band, names);
    GDALDestroyColorTable(table);
    CSLDestroy(names);
}

double perCentimetre(double umPerCell) {
    return 10000 / umPerCell;
}

void setResolution(GDALDatasetH dataset, const char* tag, double umPerCell) {
    if (!(umPerCell > 0)) return;
    GDALSetMetadataItem(dataset, "TIFFTAG_RESOLUTIONUNIT", "3", nullptr);  // centimetres
    GDALSetMetadataItem(dataset, tag, formatNumber(perCentimetre(umPerCell)).c_str(), nullptr);
}

void placeOnMap(GDALDatasetH dataset, const GridRaster& raster, const RasterFileOptions& options) {
    if (options.georeference) {
        const auto& t = options.georeference->transform;
        const auto origin = options.georeference->mapFromPixel(raster.x, raster.y);
        std::array<double, 6> scaled{origin[0], t[1] * raster.cellWidth, t[2] * raster.cellHeight,
                                     origin[1], t[4] * raster.cellWidth, t[5] * raster.cellHeight};
        GDALSetGeoTransform(dataset, scaled.data());
        if (!options.georeference->wkt.empty())
            GDALSetProjection(dataset, options.georeference->wkt.c_str());
    } else {
        std::array<double, 6> pixels{raster.x, raster.cellWidth,  0, -raster.y,
                                     0,        -raster.cellHeight};
        GDALSetGeoTransform(dataset, pixels.data());
        setResolution(dataset, "TIFFTAG_XRESOLUTION", options.umPerPixelX * raster.cellWidth);
        setResolution(dataset, "TIFFTAG_YRESOLUTION", options.umPerPixelY * raster.cellHeight);
    }
    // Where the grid lies in level-0 pixels, for our own reader and for scripts.
    for (const auto& [name, value] : {std::pair{"ATLAS_X", raster.x},
                                      {"ATLAS_Y", raster.y},
                                      {"ATLAS_CELL_WIDTH", raster.cellWidth},
                                      {"ATLAS_CELL_HEIGHT", raster.cellHeight}})
        GDALSetMetadataItem(dataset, name, formatNumber(value).c_str(), nullptr);
}

Dataset inMemory(const GridRaster& raster, const RasterFileOptions& options) {
    const bool small = options.classNames.size() < 255;
    const GDALDataType type = options.classes ? (small ? GDT_Byte : GDT_UInt16) : GDT_Float32;
    const double missing =
        options.classes ? (small ? 255 : 65535) : std::numeric_limits<double>::quiet_NaN();
    Dataset dataset(GDALCreate(GDALGetDriverByName("MEM"), "", raster.width, raster.height,
                               raster.bands, type, nullptr));
    if (!dataset) return dataset;
    const size_t count = static_cast<size_t>(raster.width) * raster.height;
    std::vector<float> plane(count);
    for (int b = 0; b < raster.bands; ++b) {
        GDALRasterBandH band = GDALGetRasterBand(dataset.get(), b + 1);
        GDALSetRasterNoDataValue(band, missing);
        std::copy_n(raster.values.begin() + static_cast<std::ptrdiff_t>(count) * b, count,
                    plane.begin());
        if (options.classes)
            for (float& value : plane)
                if (std::isnan(value)) value = static_cast<float>(missing);
        if (GDALRasterIO(band, GF_Write, 0, 0, raster.width, raster.height, plane.data(),
                         raster.width, raster.height, GDT_Float32, 0, 0) != CE_None)
            return nullptr;
        if (static_cast<size_t>(b) < raster.bandNames.size())
            GDALSetDescription(band, raster.bandNames[static_cast<size_t>(b)].c_str());
    }
    if (options.classes) describeClasses(dataset.get(), options, missing);
    placeOnMap(dataset.get(), raster, options);
    return dataset;
}

}  // namespace

GridRaster::GridRaster(int w, int h, int b) : width(w), height(h), bands(b) {
    if (w < 1 || h < 1 || b < 1 || int64_t{w} * h > kMaxCells / b)
        throw ReadError("a result raster of " + std::to_string(w) + " x " + std::to_string(h) +
                        " cells is too large");
    values.assign(static_cast<size_t>(w) * h * b, std::numeric_limits<float>::quiet_NaN());
}

bool GridRaster::cellAt(double px, double py, int& column, int& row) const {
    const double c = std::floor((px - x) / cellWidth), r = std::floor((py - y) / cellHeight);
    if (!(c >= 0 && r >= 0 && c < width && r < height)) return false;
    column = static_cast<int>(c);
    row = static_cast<int>(r);
    return true;
}

void writeRasterFile(const std::filesystem::path& path, const GridRaster& raster,
                     const RasterFileOptions& options) {
    initialiseGdal();
    GdalMessages messages;
    const auto temporary = path.parent_path() / (path.stem().string() + ".tmp.tif");
    {
        const Dataset memory = inMemory(raster, options);
        if (!memory) fail(path, messages);
        const char* resampling = options.classes ? "NEAREST" : "AVERAGE";
        const std::string overview = std::string("OVERVIEW_RESAMPLING=") + resampling;
        const OptionList cog{"COMPRESS=DEFLATE", "BIGTIFF=IF_SAFER", overview.c_str()};
        const OptionList plain{"TILED=YES", "COMPRESS=DEFLATE", "BIGTIFF=IF_SAFER"};
        const bool onMap = options.georeference.has_value();
        Dataset file(GDALCreateCopy(GDALGetDriverByName(onMap ? "COG" : "GTiff"), temporary.c_str(),
                                    memory.get(), FALSE, onMap ? cog.get() : plain.get(), nullptr,
                                    nullptr));
        if (!file) fail(path, messages);
        if (!onMap) {
            std::vector<int> factors;
            for (int f = 2; std::max(raster.width, raster.height) / f >= 256; f *= 2)
                factors.push_back(f);
            if (!factors.empty() &&
                GDALBuildOverviews(file.get(), resampling, static_cast<int>(factors.size()),
                                   factors.data(), 0, nullptr, nullptr, nullptr) != CE_None)
                fail(path, messages);
        }
    }
    if (messages.failed()) fail(path, messages);  // a full disk may show at closing
    if (!options.georeference && options.umPerPixelX > 0 && options.umPerPixelY > 0)
        setExactResolution(temporary, perCentimetre(options.umPerPixelX * raster.cellWidth),
                           perCentimetre(options.umPerPixelY * raster.cellHeight));
    std::error_code error;
    std::filesystem::rename(temporary, path, error);
    if (error) throw ReadError(path.string() + ": " + error.message());
    // Class names do not fit into TIFF tags: GDAL keeps them in a file beside.
    const std::string beside = temporary.string() + ".aux.xml";
    if (std::filesystem::exists(beside))
        std::filesystem::rename(beside, path.string() + ".aux.xml", error);
}

GridRaster readRasterFile(const std::filesystem::path& path) {
    initialiseGdal();
    GdalMessages messages;
    const Dataset file(GDALOpenEx(path.c_str(), GDAL_OF_RASTER | GDAL_OF_VERBOSE_ERROR, nullptr,
                                  nullptr, nullptr));
    if (!file) throw ReadError(path.string() + ": " + messages.cause("cannot be opened"));
    GridRaster raster(GDALGetRasterXSize(file.get()), GDALGetRasterYSize(file.get()),
                      GDALGetRasterCount(file.get()));
    const auto number = [&](const char* name, double fallback) {
        const char* text = GDALGetMetadataItem(file.get(), name, nullptr);
        return text ? parseNumber(text).value_or(fallback) : fallback;
    };
    raster.x = number("ATLAS_X", 0);
    raster.y = number("ATLAS_Y", 0);
    raster.cellWidth = number("ATLAS_CELL_WIDTH", 1);
    raster.cellHeight = number("ATLAS_CELL_HEIGHT", 1);
    if (!(raster.cellWidth > 0 && raster.cellHeight > 0) ||
        !std::isfinite(raster.x + raster.y + raster.cellWidth + raster.cellHeight))
        throw ReadError(path.string() + ": its ATLAS_ metadata says that a cell is " +
                        formatNumber(raster.cellWidth) + " x " + formatNumber(raster.cellHeight) +
                        " pixels large");
    const size_t count = static_cast<size_t>(raster.width) * raster.height;
    for (int b = 0; b < raster.bands; ++b) {
        GDALRasterBandH band = GDALGetRasterBand(file.get(), b + 1);
        raster.bandNames.emplace_back(GDALGetDescription(band));
        float* plane = raster.values.data() + count * static_cast<size_t>(b);
        if (GDALRasterIO(band, GF_Read, 0, 0, raster.width, raster.height, plane, raster.width,
                         raster.height, GDT_Float32, 0, 0) != CE_None)
            throw ReadError(path.string() + ": " + messages.cause("cannot be read"));
        int known = 0;
        const double missing = GDALGetRasterNoDataValue(band, &known);
        if (known && !std::isnan(missing))
            std::replace(plane, plane + count, static_cast<float>(missing),
                         std::numeric_limits<float>::quiet_NaN());
    }
    return raster;
}

void writePng(const std::filesystem::path& path, const RgbaImage& image) try {
    cv::Mat bgra;
    cv::cvtColor(
        cv::Mat(image.height, image.width, CV_8UC4, const_cast<uint8_t*>(image.rgba.data())), bgra,
        cv::COLOR_RGBA2BGRA);
    if (!cv::imwrite(path.string(), bgra)) throw ReadError(path.string() + ": cannot be written");
} catch (const cv::Exception& error) {
    throw ReadError(path.string() + ": " + error.what());
}

}  // namespace atlas::io
