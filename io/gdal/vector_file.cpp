// SPDX-License-Identifier: Apache-2.0
#include "io/vector_file.h"

#include <cpl_conv.h>
#include <ogr_api.h>
#include <ogr_srs_api.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "io/gdal/gdal_support.h"
#include "io/reader_registry.h"

namespace atlas::io {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 8;  // collections in collections
constexpr GIntBig kMostFeatures = 1'000'000;

struct CrsReleaser {
    void operator()(OGRSpatialReferenceH crs) const { OSRRelease(crs); }
};
using Crs = std::unique_ptr<std::remove_pointer_t<OGRSpatialReferenceH>, CrsReleaser>;
struct GeometryDestroyer {
    void operator()(OGRGeometryH g) const { OGR_G_DestroyGeometry(g); }
};
using Geometry = std::unique_ptr<std::remove_pointer_t<OGRGeometryH>, GeometryDestroyer>;
struct FeatureDestroyer {
    void operator()(OGRFeatureH f) const { OGR_F_Destroy(f); }
};
using Feature = std::unique_ptr<std::remove_pointer_t<OGRFeatureH>, FeatureDestroyer>;
struct TransformationDestroyer {
    void operator()(OGRCoordinateTransformationH t) const { OCTDestroyCoordinateTransformation(t); }
};
using Transformation =
    std::unique_ptr<std::remove_pointer_t<OGRCoordinateTransformationH>, TransformationDestroyer>;

Crs crsOf(const GeoReference& image) {
    if (image.wkt.empty()) return {};
    Crs crs(OSRNewSpatialReference(image.wkt.c_str()));
    OSRSetAxisMappingStrategy(crs.get(), OAMS_TRADITIONAL_GIS_ORDER);
    return crs;
}

std::array<double, 2> pixelFromMap(const GeoReference& image, double x, double y) {
    const auto& t = image.transform;
    const double determinant = t[1] * t[5] - t[2] * t[4], dx = x - t[0], dy = y - t[3];
    return {(dx * t[5] - dy * t[2]) / determinant, (dy * t[1] - dx * t[4]) / determinant};
}

VectorFeature::Ring ringOf(OGRGeometryH line, const GeoReference& image, bool closed) {
    VectorFeature::Ring ring;
    for (int i = 0; i < OGR_G_GetPointCount(line); ++i)
        ring.push_back(pixelFromMap(image, OGR_G_GetX(line, i), OGR_G_GetY(line, i)));
    if (closed && ring.size() > 1 && ring.front() == ring.back()) ring.pop_back();
    return ring;
}

bool finite(const VectorFeature& feature) {
    for (const auto& ring : feature.rings)
        for (const auto& p : ring)
            if (!std::isfinite(p[0]) || !std::isfinite(p[1])) return false;
    return !feature.rings.empty() && !feature.rings.front().empty();
}

/// Appends what a geometry holds; false where something in it has no place on the image.
bool collect(OGRGeometryH geometry, const GeoReference& image, const VectorFeature& like,
             std::vector<VectorFeature>& out, int depth = 0) {
    VectorFeature feature = like;
    switch (wkbFlatten(OGR_G_GetGeometryType(geometry))) {
        case wkbPoint:
            feature.kind = VectorFeature::Kind::Point;
            feature.rings = {ringOf(geometry, image, false)};
            break;
        case wkbLineString:
            feature.kind = VectorFeature::Kind::Line;
            feature.rings = {ringOf(geometry, image, false)};
            if (feature.rings[0].size() < 2) return false;
            break;
        case wkbPolygon:
            feature.kind = VectorFeature::Kind::Polygon;
            for (int i = 0; i < OGR_G_GetGeometryCount(geometry); ++i)
                feature.rings.push_back(ringOf(OGR_G_GetGeometryRef(geometry, i), image, true));
            if (feature.rings.empty() || feature.rings[0].size() < 3) return false;
            break;
        case wkbMultiPoint:
        case wkbMultiLineString:
        case wkbMultiPolygon:
        case wkbGeometryCollection: {
            bool all = depth < kDeepest;
            for (int i = 0; all && i < OGR_G_GetGeometryCount(geometry); ++i)
                all &= collect(OGR_G_GetGeometryRef(geometry, i), image, like, out, depth + 1);
            return all;
        }
        default:
            return false;
    }
    if (!finite(feature)) return false;
    out.push_back(std::move(feature));
    return true;
}

std::string field(OGRFeatureH feature, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        const int index = OGR_F_GetFieldIndex(feature, name);  // in any case of letters
        if (index >= 0 && OGR_F_IsFieldSetAndNotNull(feature, index))
            return OGR_F_GetFieldAsString(feature, index);
    }
    return {};
}

Geometry geometryOf(const VectorFeature& feature, const GeoReference& image) {
    const auto add = [&](OGRGeometryH to, const VectorFeature::Ring& ring, bool close) {
        for (const auto& p : ring) {
            const auto map = image.mapFromPixel(p[0], p[1]);
            OGR_G_AddPoint_2D(to, map[0], map[1]);
        }
        if (close) OGR_G_CloseRings(to);
    };
    switch (feature.kind) {
        case VectorFeature::Kind::Point: {
            Geometry point(OGR_G_CreateGeometry(wkbPoint));
            add(point.get(), feature.rings.at(0), false);
            return point;
        }
        case VectorFeature::Kind::Line: {
            Geometry line(OGR_G_CreateGeometry(wkbLineString));
            add(line.get(), feature.rings.at(0), false);
            return line;
        }
        case VectorFeature::Kind::Polygon:
            break;
    }
    Geometry polygon(OGR_G_CreateGeometry(wkbPolygon));
    for (const auto& ring : feature.rings) {
        OGRGeometryH line = OGR_G_CreateGeometry(wkbLinearRing);
        add(line, ring, true);
        OGR_G_AddGeometryDirectly(polygon.get(), line);
    }
    return polygon;
}

void writeLayer(GDALDatasetH dataset, const char* name, VectorFeature::Kind kind,
                const std::vector<VectorFeature>& features, const GeoReference& image,
                const std::string& path, const GdalMessages& messages) {
    const Crs crs = crsOf(image);
    const OGRwkbGeometryType types[] = {wkbPoint, wkbLineString, wkbPolygon};
    OGRLayerH layer =
        GDALDatasetCreateLayer(dataset, name, crs.get(), types[static_cast<int>(kind)], nullptr);
    if (!layer) throw ReadError(path + ": " + messages.cause("no layer can be made"));
    for (const char* text : {"class", "name", "note"}) {
        OGRFieldDefnH definition = OGR_Fld_Create(text, OFTString);
        OGR_L_CreateField(layer, definition, 1);
        OGR_Fld_Destroy(definition);
    }
    for (const auto& f : features) {
        if (f.kind != kind) continue;
        const Feature feature(OGR_F_Create(OGR_L_GetLayerDefn(layer)));
        OGR_F_SetFieldString(feature.get(), 0, f.className.c_str());
        OGR_F_SetFieldString(feature.get(), 1, f.name.c_str());
        OGR_F_SetFieldString(feature.get(), 2, f.note.c_str());
        OGR_F_SetGeometryDirectly(feature.get(), geometryOf(f, image).release());
        if (OGR_L_CreateFeature(layer, feature.get()) != OGRERR_NONE)
            throw ReadError(path + ": " + messages.cause("a shape cannot be written"));
    }
}

Dataset createVector(const char* driverName, const std::string& path,
                     const GdalMessages& messages) {
    GDALDriverH driver = GDALGetDriverByName(driverName);
    if (!driver) throw ReadError(path + ": GDAL is without the driver " + driverName);
    Dataset dataset(GDALCreate(driver, path.c_str(), 0, 0, 0, GDT_Unknown, nullptr));
    if (!dataset) throw ReadError(path + ": " + messages.cause("cannot be written"));
    return dataset;
}

}  // namespace

std::string wktOf(const std::string& name) {
    initialiseGdal();
    const GdalMessages messages;
    const Crs crs(OSRNewSpatialReference(nullptr));
    char* text = nullptr;
    if (OSRSetFromUserInput(crs.get(), name.c_str()) != OGRERR_NONE ||
        OSRExportToWkt(crs.get(), &text) != OGRERR_NONE)
        throw ReadError(name + ": is no known coordinate system");
    const std::string wkt(text);
    CPLFree(text);
    return wkt;
}

std::vector<VectorFeature> readVectors(const std::string& path, const GeoReference& image,
                                       int* leftOut) {
    initialiseGdal();
    const GdalMessages messages;
    const Dataset dataset(
        GDALOpenEx(path.c_str(), GDAL_OF_VECTOR | GDAL_OF_READONLY, nullptr, nullptr, nullptr));
    if (!dataset)
        throw ReadError(path + ": " + messages.cause("is no vector file that GDAL knows"));
    const Crs to = crsOf(image);
    std::vector<VectorFeature> features;
    int lost = 0;
    for (int i = 0; i < GDALDatasetGetLayerCount(dataset.get()); ++i) {
        OGRLayerH layer = GDALDatasetGetLayer(dataset.get(), i);
        OGRSpatialReferenceH from = OGR_L_GetSpatialRef(layer);
        Transformation transformation;
        if (from && to && !OSRIsSame(from, to.get())) {
            Crs own(OSRClone(from));
            OSRSetAxisMappingStrategy(own.get(), OAMS_TRADITIONAL_GIS_ORDER);
            transformation.reset(OCTNewCoordinateTransformation(own.get(), to.get()));
            if (!transformation)
                throw ReadError(path + ": its coordinate system cannot be turned into the image's");
        }
        OGR_L_ResetReading(layer);
        while (const Feature feature{OGR_L_GetNextFeature(layer)}) {
            if (static_cast<GIntBig>(features.size()) >= kMostFeatures)
                throw ReadError(path + ": holds more than a million shapes");
            Geometry geometry(OGR_F_StealGeometry(feature.get()));
            if (!geometry) continue;
            if (OGR_G_HasCurveGeometry(geometry.get(), TRUE))
                geometry.reset(OGR_G_GetLinearGeometry(geometry.get(), 0, nullptr));
            VectorFeature like;
            like.className = field(feature.get(), {"class", "classification", "label", "type"});
            like.name = field(feature.get(), {"name", "title", "id"});
            like.note = field(feature.get(), {"note", "notes", "description", "comment"});
            const bool placed =
                !transformation ||
                OGR_G_Transform(geometry.get(), transformation.get()) == OGRERR_NONE;
            if (!placed || !collect(geometry.get(), image, like, features)) ++lost;
        }
    }
    if (leftOut) *leftOut = lost;
    return features;
}

std::vector<std::string> writeVectors(const std::string& path,
                                      const std::vector<VectorFeature>& features,
                                      const GeoReference& image) {
    initialiseGdal();
    const GdalMessages messages;
    const fs::path target(path);
    const bool package = target.extension() == ".gpkg";
    if (!package && target.extension() != ".shp")
        throw ReadError(path + ": shapes are written as .gpkg or .shp");
    const std::pair<VectorFeature::Kind, const char*> kinds[] = {
        {VectorFeature::Kind::Point, "points"},
        {VectorFeature::Kind::Line, "lines"},
        {VectorFeature::Kind::Polygon, "polygons"}};
    const auto any = [&](VectorFeature::Kind kind) {
        return std::any_of(features.begin(), features.end(),
                           [kind](const VectorFeature& f) { return f.kind == kind; });
    };
    std::vector<std::string> files;
    if (package) {
        const fs::path temporary = target.string() + ".part.gpkg";
        fs::remove(temporary);
        {
            const Dataset dataset = createVector("GPKG", temporary.string(), messages);
            for (const auto& [kind, name] : kinds)
                if (any(kind))
                    writeLayer(dataset.get(), name, kind, features, image, path, messages);
        }
        fs::rename(temporary, target);
        return {path};
    }
    for (const auto& [kind, name] : kinds) {
        if (!any(kind)) continue;
        const std::string stem = target.stem().string() + "_" + name;
        const fs::path folder = target.parent_path() / (stem + ".part");
        fs::remove_all(folder);
        fs::create_directories(folder);
        {
            const Dataset dataset =
                createVector("ESRI Shapefile", (folder / (stem + ".shp")).string(), messages);
            writeLayer(dataset.get(), stem.c_str(), kind, features, image, path, messages);
        }
        for (const auto& part : fs::directory_iterator(folder))
            fs::rename(part.path(), target.parent_path() / part.path().filename());
        fs::remove_all(folder);
        files.push_back((target.parent_path() / (stem + ".shp")).string());
    }
    return files;
}

}  // namespace atlas::io
