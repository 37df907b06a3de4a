// SPDX-License-Identifier: Apache-2.0
#include "io/geodesy.h"

#include <geodesic.h>
#include <ogr_srs_api.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "io/gdal/gdal_support.h"

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

DegreesFromPixels::DegreesFromPixels(const GeoReference& image) : image_(image) {
    if (image.wkt.empty()) return;
    initialiseGdal();
    GdalMessages messages;  // a CRS of another planet has no way to WGS 84, which is no error here
    OGRSpatialReferenceH own = OSRNewSpatialReference(image.wkt.c_str());
    OGRSpatialReferenceH degrees = OSRNewSpatialReference(nullptr);
    OSRImportFromEPSG(degrees, 4326);
    // Longitude first, on both sides.
    if (own) OSRSetAxisMappingStrategy(own, OAMS_TRADITIONAL_GIS_ORDER);
    OSRSetAxisMappingStrategy(degrees, OAMS_TRADITIONAL_GIS_ORDER);
    if (own && (OSRIsProjected(own) || OSRIsGeographic(own)))
        transformation_ = OCTNewCoordinateTransformation(own, degrees);
    if (own) OSRRelease(own);
    OSRRelease(degrees);
}

DegreesFromPixels::~DegreesFromPixels() {
    if (transformation_)
        OCTDestroyCoordinateTransformation(
            static_cast<OGRCoordinateTransformationH>(transformation_));
}

std::array<double, 2> DegreesFromPixels::at(double x, double y) const {
    constexpr double kNowhere = std::numeric_limits<double>::quiet_NaN();
    if (!transformation_) return {kNowhere, kNowhere};
    GdalMessages messages;
    auto place = image_.mapFromPixel(x, y);
    int good = 0;
    OCTTransformEx(static_cast<OGRCoordinateTransformationH>(transformation_), 1, &place[0],
                   &place[1], nullptr, &good);
    const bool onEarth = good && std::abs(place[0]) <= 360 && std::abs(place[1]) <= 90 + 1e-9;
    if (!onEarth) return {kNowhere, kNowhere};
    return {place[0] > 180    ? place[0] - 360
            : place[0] < -180 ? place[0] + 360
                              : place[0],
            std::clamp(place[1], -90.0, 90.0)};
}

}  // namespace atlas::io
