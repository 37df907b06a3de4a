// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/tile_files.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>

#include "engine/pipeline/text_file.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Box {
    int64_t x, y, width, height;
};
/// What a context answers for, in whole level-0 pixels of the image.
Box boxOf(const RunRecord& record, const Context& context, const io::ImageInfo& info) {
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

json featureOf(const RunRecord& record, const ContextRow& row, size_t number,
               const io::ImageInfo& info) {
    const Box b = boxOf(record, row.context, info);
    const auto best =
        static_cast<size_t>(std::max_element(row.probabilities.begin(), row.probabilities.end()) -
                            row.probabilities.begin());
    json measurements = json::object();
    for (size_t c = 0; c < row.probabilities.size(); ++c)
        measurements["prob_" + record.model.classNames[c]] = row.probabilities[c];
    for (size_t k = 0; k < row.meanMass.size(); ++k)
        measurements["attn_" + (record.model.massNames.empty() ? "s" + std::to_string(k)
                                                               : record.model.massNames[k])] =
            row.meanMass[k];
    const json ring = json::array({{b.x, b.y},
                                   {b.x + b.width, b.y},
                                   {b.x + b.width, b.y + b.height},
                                   {b.x, b.y + b.height},
                                   {b.x, b.y}});
    return {
        {"type", "Feature"},
        {"id", derivedUuid(record.runId + "/" + std::to_string(row.context.column) + "/" +
                           std::to_string(row.context.row))},
        {"geometry", {{"type", "Polygon"}, {"coordinates", json::array({ring})}}},
        {"properties",
         {{"objectType", "tile"},
          {"name", "Tile " + std::to_string(number)},
          {"isLocked", true},
          {"classification",
           {{"name", record.model.classNames[best]}, {"color", record.model.classColors[best]}}},
          {"measurements", measurements},
          {"metadata", {{"model", record.model.name}, {"run", record.runId}}}}}};
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

void writeGeoJson(const fs::path& path, const RunRecord& record, const io::ImageInfo& info) {
    TextFile file(path);
    file.out << R"({"type":"FeatureCollection","features":[)";
    for (size_t i = 0; i < record.rows.size(); ++i)
        file.out << (i ? ",\n" : "\n") << featureOf(record, record.rows[i], i, info).dump();
    file.out << "\n]}\n";
    file.finish();
}

}  // namespace atlas::engine
