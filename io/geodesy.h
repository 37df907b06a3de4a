// SPDX-License-Identifier: Apache-2.0
// Lengths and areas on the ellipsoid, for images in degrees (Karney 2013, by PROJ); and places in
// degrees.
#pragma once

#include <array>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

struct GroundMeasure {
    double metres = 0;        ///< along the line, or around
    double squareMetres = 0;  ///< of a closed line; 0 of an open one
};

/// `points`: level-0 pixels of an image whose georeference is geographic (degrees); neighbours are
/// joined by geodesics of the ellipsoid of its coordinate system (WGS 84 where it does not say).
GroundMeasure measureGround(const GeoReference& image,
                            const std::vector<std::array<double, 2>>& points, bool closed);

/// From the pixels of an image to longitude and latitude of WGS 84, in degrees.
class DegreesFromPixels {
  public:
    explicit DegreesFromPixels(const GeoReference& image);
    ~DegreesFromPixels();
    DegreesFromPixels(const DegreesFromPixels&) = delete;
    DegreesFromPixels& operator=(const DegreesFromPixels&) = delete;

    /// False where the image has no coordinate reference system, or one that is not of the Earth.
    bool usable() const { return transformation_ != nullptr; }
    /// {longitude, latitude} of a level-0 position; not finite where the projection has none.
    std::array<double, 2> at(double x, double y) const;

  private:
    GeoReference image_;
    void* transformation_ = nullptr;  ///< GDAL's
};

}  // namespace atlas::io
