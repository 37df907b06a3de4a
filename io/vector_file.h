// SPDX-License-Identifier: Apache-2.0
// Shapes in GeoPackage, Shapefile or any other vector file that GDAL knows, from and to the pixels
// of an image with a georeference.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

struct VectorFeature {
    enum class Kind { Point, Line, Polygon };
    using Ring = std::vector<std::array<double, 2>>;

    Kind kind = Kind::Polygon;
    /// Level-0 pixels. Polygon: the outer ring, then holes, none closed by its first corner again.
    std::vector<Ring> rings;
    std::string className, name, note;
};

/// A coordinate system as WKT by its name, e.g. "EPSG:32618". Throws ReadError.
std::string wktOf(const std::string& name);

/// Every feature of every layer, reprojected to the image and its pixels; multi-geometries come
/// apart. Fields class, name and note (or what resembles them) are read. Throws ReadError with path
/// and cause; what cannot be reprojected is left out and counted in `leftOut`.
std::vector<VectorFeature> readVectors(const std::string& path, const GeoReference& image,
                                       int* leftOut = nullptr);

/// Writes .gpkg or .shp (then a file for each kind of shape: NAME_points.shp ...) in the image's
/// coordinate system, under a temporary name first. Returns the files. Throws ReadError.
std::vector<std::string> writeVectors(const std::string& path,
                                      const std::vector<VectorFeature>& features,
                                      const GeoReference& image);

}  // namespace atlas::io
