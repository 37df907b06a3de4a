// SPDX-License-Identifier: Apache-2.0
// Result rasters as files: class maps, probabilities, attention. Georeferenced ones are Cloud
// Optimized GeoTIFF, others tiled pyramidal TIFF with resolution tags and a transform in pixels of
// the image, as a GIS lays out an image that has none: x to the right, -y downwards.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

/// A grid of cells laid over an image. Missing values are NaN.
struct GridRaster {
    int width = 0, height = 0, bands = 0;
    double x = 0, y = 0;                   ///< top left corner, level-0 pixels of the image
    double cellWidth = 1, cellHeight = 1;  ///< level-0 pixels
    std::vector<std::string> bandNames;
    std::vector<float> values;  ///< [bands, height, width]

    GridRaster() = default;
    GridRaster(int w, int h, int b);
    float at(int band, int column, int row) const {
        return values[(static_cast<size_t>(band) * height + row) * width + column];
    }
    float& at(int band, int column, int row) {
        return values[(static_cast<size_t>(band) * height + row) * width + column];
    }
    /// Column and row of a level-0 position; false outside.
    bool cellAt(double px, double py, int& column, int& row) const;
};

struct RasterFileOptions {
    bool classes = false;  ///< whole numbers with names and colours, stored as uint8 or uint16
    std::vector<std::string> classNames;
    std::vector<std::array<uint8_t, 3>> classColors;
    std::optional<GeoReference> georeference;  ///< of the image
    double umPerPixelX = 0, umPerPixelY = 0;   ///< of the image, for resolution tags; 0: unknown
};

/// Writes `path` under a temporary name, then renames. Throws ReadError with path and cause.
void writeRasterFile(const std::filesystem::path& path, const GridRaster& raster,
                     const RasterFileOptions& options);

/// Reads one written by writeRasterFile. Throws ReadError.
GridRaster readRasterFile(const std::filesystem::path& path);

/// PNG of RGBA pixels. Throws ReadError.
void writePng(const std::filesystem::path& path, const RgbaImage& image);

}  // namespace atlas::io
