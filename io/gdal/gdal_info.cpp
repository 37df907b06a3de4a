// SPDX-License-Identifier: Apache-2.0
#include "io/gdal/gdal_info.h"

#include <cpl_string.h>
#include <ogr_srs_api.h>

#include <cmath>
#include <numbers>

#include "io/numbers.h"
#include "io/reader_registry.h"

namespace atlas::io {
namespace {

std::string crsNameOf(OGRSpatialReferenceH crs) {
    std::string name;
    const char* authority = OSRGetAuthorityName(crs, nullptr);
    const char* code = OSRGetAuthorityCode(crs, nullptr);
    if (authority && code) name = std::string(authority) + ":" + code;
    if (const char* text = OSRGetName(crs)) name += (name.empty() ? "" : ", ") + std::string(text);
    return name;
}

bool geotransformOf(GDALDatasetH dataset, std::array<double, 6>& transform,
                    OGRSpatialReferenceH& crs) {
    crs = GDALGetSpatialRef(dataset);
    if (GDALGetGeoTransform(dataset, transform.data()) == CE_None) {
        const bool identity = transform == std::array<double, 6>{0, 1, 0, 0, 0, 1};
        return !identity || crs;
    }
    const int count = GDALGetGCPCount(dataset);
    if (count < 3) return false;
    if (!crs) crs = GDALGetGCPSpatialRef(dataset);
    return GDALGCPsToGeoTransform(count, GDALGetGCPs(dataset), transform.data(), TRUE) != FALSE;
}

}  // namespace

SampleType sampleTypeOf(GDALDatasetH dataset) {
    switch (GDALGetRasterDataType(GDALGetRasterBand(dataset, 1))) {
        case GDT_Byte:
            return SampleType::UInt8;
        case GDT_UInt16:
            return SampleType::UInt16;
        case GDT_Int16:
            return SampleType::Int16;
        case GDT_UInt32:
            return SampleType::UInt32;
        case GDT_Int32:
            return SampleType::Int32;
        case GDT_Float32:
            return SampleType::Float32;
        case GDT_Float64:
            return SampleType::Float64;
        default:
            return SampleType::Other;
    }
}

std::optional<GeoReference> georeferenceOf(GDALDatasetH dataset) {
    GeoReference geo;
    OGRSpatialReferenceH crs = nullptr;
    if (!geotransformOf(dataset, geo.transform, crs)) return std::nullopt;
    for (double value : geo.transform)
        if (!std::isfinite(value)) return std::nullopt;
    if (crs) {
        geo.crsName = crsNameOf(crs);
        geo.geographic = OSRIsGeographic(crs) != 0;
        char* wkt = nullptr;
        if (OSRExportToWkt(crs, &wkt) == OGRERR_NONE && wkt) geo.wkt = wkt;
        CPLFree(wkt);
    }
    return geo;
}

std::optional<Resolution> resolutionOf(GDALDatasetH dataset, const std::optional<GeoReference>& geo,
                                       std::vector<std::string>& warnings) {
    if (geo && !geo->wkt.empty()) {
        const auto& t = geo->transform;
        double x = std::hypot(t[1], t[4]), y = std::hypot(t[2], t[5]);
        OGRSpatialReferenceH crs = GDALGetSpatialRef(dataset);
        if (!crs) crs = GDALGetGCPSpatialRef(dataset);
        if (crs && geo->geographic) {
            const double metresPerDegree = OSRGetSemiMajor(crs, nullptr) * std::numbers::pi / 180;
            const double middle = geo->mapFromPixel(GDALGetRasterXSize(dataset) / 2.0,
                                                    GDALGetRasterYSize(dataset) / 2.0)[1];
            x *= metresPerDegree *
                 std::cos(std::min(std::abs(middle), 89.0) * std::numbers::pi / 180);
            y *= metresPerDegree;
        } else if (crs) {
            const double metres = OSRGetLinearUnits(crs, nullptr);
            x *= metres;
            y *= metres;
        }
        if (x > 0 && y > 0 && std::isfinite(x) && std::isfinite(y))
            return Resolution{x * 1e6, y * 1e6, true, "geotransform"};
    }
    const char* unit = GDALGetMetadataItem(dataset, "TIFFTAG_RESOLUTIONUNIT", nullptr);
    const double unitUm = !unit ? 0 : unit[0] == '2' ? 25400 : unit[0] == '3' ? 10000 : 0;
    const auto umOf = [&](const char* name) {
        const char* tag = GDALGetMetadataItem(dataset, name, nullptr);
        const double perUnit = tag ? parseNumber(tag).value_or(0) : 0;
        return perUnit > 0 && std::isfinite(perUnit) ? unitUm / perUnit : 0;
    };
    const double x = umOf("TIFFTAG_XRESOLUTION"), given = umOf("TIFFTAG_YRESOLUTION");
    if (!(x > 0)) return std::nullopt;
    const double y = given > 0 ? given : x;
    if (!isDefaultResolution(x) && !isDefaultResolution(y))
        return Resolution{x, y, false, "TIFF resolution tags"};
    warnings.push_back("the resolution tag says " + formatSignificant(x, 7) +
                       " um a pixel, which looks like a writer's default: not believed");
    return std::nullopt;
}

std::vector<std::string> subdatasetsOf(GDALDatasetH dataset) {
    std::vector<std::string> names;
    char** list = GDALGetMetadata(dataset, "SUBDATASETS");
    for (int i = 1; i < 10000; ++i) {
        const char* name =
            CSLFetchNameValue(list, ("SUBDATASET_" + std::to_string(i) + "_NAME").c_str());
        if (!name) break;
        names.emplace_back(name);
    }
    return names;
}

std::string iccProfileOf(GDALDatasetH dataset) {
    const char* text = GDALGetMetadataItem(dataset, "SOURCE_ICC_PROFILE", "COLOR_PROFILE");
    if (!text) return {};
    std::string bytes(text);
    const int size = CPLBase64DecodeInPlace(reinterpret_cast<GByte*>(bytes.data()));
    bytes.resize(static_cast<size_t>(std::max(0, size)));
    return bytes;
}

}  // namespace atlas::io
