// SPDX-License-Identifier: Apache-2.0
#include "io/geodesy.h"

#include <geodesic.h>
#include <ogr_srs_api.h>

#include <cmath>

namespace atlas::io {

GroundMeasure measureGround(const GeoReference& image,
                            const std::vector<std::array<double, 2>>& points, bool closed) {
    double radius = 6378137, flattening = 1 / 298.257223563;
    if (!image.wkt.empty()) {
        OGRSpatialReferenceH crs = OSRNewSpatialReference(image.wkt.c_str());
        OGRErr error = OGRERR_NONE;
        const double major = OSRGetSemiMajor(crs, &error);
        if (error == OGRERR_NONE && major > 0) radius = major;
        const double inverse = OSRGetInvFlattening(crs, &error);
        if (error == OGRERR_NONE) flattening = inverse > 0 ? 1 / inverse : 0;
        OSRRelease(crs);
    }
    geod_geodesic earth;
    geod_init(&earth, radius, flattening);
    geod_polygon line;
    geod_polygon_init(&line, closed ? 0 : 1);
    for (const auto& p : points) {
        const auto map = image.mapFromPixel(p[0], p[1]);
        geod_polygon_addpoint(&earth, &line, map[1], map[0]);
    }
    GroundMeasure measure;
    geod_polygon_compute(&earth, &line, 0, 1, &measure.squareMetres, &measure.metres);
    if (!closed) measure.squareMetres = 0;
    measure.squareMetres = std::abs(measure.squareMetres);
    return measure;
}

}  // namespace atlas::io
