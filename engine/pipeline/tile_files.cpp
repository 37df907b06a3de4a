// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/tile_files.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>

#include "engine/pipeline/text_file.h"
#include "io/geodesy.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Box {
    int64_t x, y, width, height;
};
/// What a context answers for, in whole level-0 pixels of the image; but for exported models the
/// whole patch, as WSInfer writes it.
Box boxOf(const RunRecord& record, const Context& context, const io::ImageInfo& info) {
    if (record.model.architecture == kTorchScript && !record.whole) {
        const auto x = std::llround(context.x), y = std::llround(context.y);
        return {x, y, std::llround(record.plan.contextWidth),
                std::llround(record.plan.contextHeight)};
    }
    const PlaneBox box = record.plan.answeredBy(context);
    const auto x0 = std::max<int64_t>(0, std::llround(box.x0)),
               y0 = std::max<int64_t>(0, std::llround(box.y0)),
               x1 = std::min<int64_t>(info.levels[0].width, std::llround(box.x1)),
               y1 = std::min<int64_t>(info.levels[0].height, std::llround(box.y1));
    return {x0, y0, std::max<int64_t>(1, x1 - x0), std::max<int64_t>(1, y1 - y0)};
}

std::string csvField(const std::string& text) {
    if (text.find_first_of(",\"\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

size_t bestOf(const ContextRow& row) {
    return static_cast<size_t>(
        std::max_element(row.probabilities.begin(), row.probabilities.end()) -
        row.probabilities.begin());
}

json measurementsOf(const RunRecord& record, const ContextRow& row) {
    json measurements = json::object();
    for (size_t c = 0; c < row.probabilities.size(); ++c)
        measurements["prob_" + record.model.classNames[c]] = row.probabilities[c];
    for (size_t k = 0; k < row.meanMass.size(); ++k)
        measurements["attn_" + (record.model.massNames.empty() ? "s" + std::to_string(k)
                                                               : record.model.massNames[k])] =
            row.meanMass[k];
    return measurements;
}

std::string idOf(const RunRecord& record, const ContextRow& row) {
    return derivedUuid(record.runId + "/" + std::to_string(row.context.column) + "/" +
                       std::to_string(row.context.row));
}

json quPathFeature(const RunRecord& record, const ContextRow& row, size_t number,
                   const io::ImageInfo& info) {
    const Box b = boxOf(record, row.context, info);
    const size_t best = bestOf(row);
    const json ring = json::array({{b.x, b.y},
                                   {b.x + b.width, b.y},
                                   {b.x + b.width, b.y + b.height},
                                   {b.x, b.y + b.height},
                                   {b.x, b.y}});
    return {
        {"type", "Feature"},
        {"id", idOf(record, row)},
        {"geometry", {{"type", "Polygon"}, {"coordinates", json::array({ring})}}},
        {"properties",
         {{"objectType", "tile"},
          {"name", "Tile " + std::to_string(number)},
          {"isLocked", true},
          {"classification",
           {{"name", record.model.classNames[best]}, {"color", record.model.classColors[best]}}},
          {"measurements", measurementsOf(record, row)},
          {"metadata", {{"model", record.model.name}, {"run", record.runId}}}}}};
}

using Ring = std::vector<std::array<double, 2>>;

/// The part of a closed shape on one side of a meridian (Sutherland and Hodgman).
Ring cutAt(const Ring& ring, double meridian, bool west) {
    Ring part;
    const auto inside = [&](const auto& p) { return west ? p[0] <= meridian : p[0] >= meridian; };
    for (size_t i = 0; i < ring.size(); ++i) {
        const auto &a = ring[i], &b = ring[(i + 1) % ring.size()];
        if (inside(a)) part.push_back(a);
        if (inside(a) == inside(b)) continue;
        const double share = (meridian - a[0]) / (b[0] - a[0]);
        part.push_back({meridian, a[1] + share * (b[1] - a[1])});
    }
    return part;
}

/// Closed, and counterclockwise, as RFC 7946 wants outer rings.
json closedRing(Ring ring) {
    double twiceArea = 0;
    for (size_t i = 0; i < ring.size(); ++i) {
        const auto &a = ring[i], &b = ring[(i + 1) % ring.size()];
        twiceArea += a[0] * b[1] - b[0] * a[1];
    }
    if (twiceArea < 0) std::reverse(ring.begin(), ring.end());
    ring.push_back(ring.front());
    return ring;
}

json geometryOf(Ring ring) {
    double least = 1e300, most = -1e300;
    for (const auto& p : ring) {
        if (!std::isfinite(p[0]) || !std::isfinite(p[1])) return nullptr;
        least = std::min(least, p[0]);
        most = std::max(most, p[0]);
    }
    if (most - least <= 180) {
        const json rings = json::array({closedRing(ring)});
        return {{"type", "Polygon"}, {"coordinates", rings}};
    }
    for (auto& p : ring)
        if (p[0] < 0) p[0] += 360;
    json parts = json::array();
    for (bool west : {true, false}) {
        Ring part = cutAt(ring, 180, west);
        if (part.size() < 3) continue;
        if (!west)
            for (auto& p : part) p[0] -= 360;
        parts.push_back(json::array({closedRing(part)}));
    }
    return {{"type", "MultiPolygon"}, {"coordinates", parts}};
}

/// Plain columns, as a GIS shows them in its table of attributes.
json mapFeature(const RunRecord& record, const ContextRow& row, const io::ImageInfo& info,
                const io::DegreesFromPixels& degrees) {
    const Box b = boxOf(record, row.context, info);
    const auto x0 = static_cast<double>(b.x), y0 = static_cast<double>(b.y),
               x1 = static_cast<double>(b.x + b.width), y1 = static_cast<double>(b.y + b.height);
    Ring ring{{x0, y0}, {x0, y1}, {x1, y1}, {x1, y0}};
    for (auto& p : ring) p = degrees.at(p[0], p[1]);
    json properties = measurementsOf(record, row);
    properties["class"] = record.model.classNames[bestOf(row)];
    properties["model"] = record.model.name;
    properties["run"] = record.runId;
    return {{"type", "Feature"},
            {"id", idOf(record, row)},
            {"geometry", geometryOf(ring)},
            {"properties", properties}};
}

template <typename Feature>
void writeFeatures(const fs::path& path, const RunRecord& record, const Feature& feature) {
    TextFile file(path);
    file.out << R"({"type":"FeatureCollection","features":[)";
    for (size_t i = 0; i < record.rows.size(); ++i)
        file.out << (i ? ",\n" : "\n") << feature(record.rows[i], i).dump();
    file.out << "\n]}\n";
    file.finish();
}

}  // namespace

void writeCsv(const fs::path& path, const RunRecord& record, const io::ImageInfo& info) {
    TextFile file(path);
    file.out << "minx,miny,width,height";
    for (const auto& name : record.model.classNames) file.out << ',' << csvField("prob_" + name);
    file.out << '\n' << std::setprecision(7);
    for (const auto& row : record.rows) {
        const Box b = boxOf(record, row.context, info);
        file.out << b.x << ',' << b.y << ',' << b.width << ',' << b.height;
        for (float p : row.probabilities) file.out << ',' << p;
        file.out << '\n';
    }
    file.finish();
}

void writeQuPathTiles(const fs::path& path, const RunRecord& record, const io::ImageInfo& info) {
    writeFeatures(path, record, [&](const ContextRow& row, size_t number) {
        return quPathFeature(record, row, number, info);
    });
}

bool writeMapTiles(const fs::path& path, const RunRecord& record, const io::ImageInfo& info) {
    if (!info.georeference) return false;
    const io::DegreesFromPixels degrees(*info.georeference);
    if (!degrees.usable()) return false;
    writeFeatures(path, record, [&](const ContextRow& row, size_t) {
        return mapFeature(record, row, info, degrees);
    });
    return true;
}

}  // namespace atlas::engine
