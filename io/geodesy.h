// SPDX-License-Identifier: Apache-2.0
// Lengths and areas on the ellipsoid, for images in degrees (Karney 2013, by PROJ).
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

}  // namespace atlas::io
