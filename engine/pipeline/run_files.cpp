// SPDX-License-Identifier: Apache-2.0
// Writes the files of a run. Formats: interop.md.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

#include "engine/nn/machine.h"
#include "engine/pipeline/class_areas.h"
#include "engine/pipeline/model_input.h"
#include "engine/pipeline/overlay.h"
#include "engine/pipeline/run_folder.h"
#include "engine/pipeline/run_identity.h"
#include "engine/pipeline/text_file.h"
#include "engine/pipeline/tile_files.h"
#include "io/numbers.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

json summaryOf(const RunRecord& record, const RunLayers& layers) {
    std::vector<int64_t> counts(record.model.classNames.size());
    std::vector<double> mass;
    for (const auto& row : record.rows) {
        ++counts[static_cast<size_t>(
            std::max_element(row.probabilities.begin(), row.probabilities.end()) -
            row.probabilities.begin())];
        mass.resize(std::max(mass.size(), row.meanMass.size()));
        for (size_t k = 0; k < row.meanMass.size(); ++k)
            mass[k] += row.meanMass[k] / static_cast<double>(record.rows.size());
    }
    const auto areas = classAreas(layers.classes, record.plan.region, counts.size());
    const auto fractions = areaFractions(areas);
    const double metres2 = record.plan.umPerPixelX * record.plan.umPerPixelY * 1e-12;
    json classes = json::array();
    for (size_t i = 0; i < counts.size(); ++i)
        classes.push_back({{"name", record.model.classNames[i]},
                           {"contexts", counts[i]},
                           {"area_m2", areas[i] * metres2},
                           {"area_fraction", fractions[i]}});
    const std::string most = mostFrequentClass(record, layers);
    return {{"contexts", record.rows.size()},
            {"classes", classes},
            {"most_frequent_class", most.empty() ? json() : json(most)},
            {"mean_scale_mass", mass}};
}

json wholeJson(const RunRecord& record) {
    const auto& w = *record.whole;
    return {{"size_px", {record.plan.wholeWidthPx, record.plan.wholeHeightPx}},
            {"logits", w.logits},
            {"baseline", w.baseline},
            {"scales", w.scales},
            {"scales_with_weights", w.scalesWithWeights},
            {"background_left_out", w.masked},
            {"windows_skipped", w.windowsSkipped},
            {"token_bytes", w.tokenBytes},
            {"scratch_file", w.usedScratchFile},
            {"scratch_traffic_in_token_bytes", w.scratchTraffic}};
}

/// What the network was given: bands from 1, and how their values became 8-bit colour.
json inputJson(const io::ColorSource& image, const ModelConfig& model) {
    const auto& s = image.settings();
    return {{"line", modelInputLine(image.info(), s, &model)},
            {"bands", {s.bands[0] + 1, s.bands[1] + 1, s.bands[2] + 1}},
            {"stretch", stretchName(s.stretch)},
            {"percent", {s.lowPercent, s.highPercent}},
            {"range", s.range}};
}

/// The choice that gives a stored run's input again. Runs of earlier versions kept the display's
/// settings: their measured range is taken as it was.
InputChoice inputOf(const json& parameters) {
    InputChoice choice;
    if (!parameters.contains("input")) {
        for (int band : parameters.value("bands", std::vector<int>{}))
            choice.bands.push_back(std::to_string(band + 1));
        const bool isStretched = parameters.value("stretch", 0) != 0;
        choice.stretch = isStretched ? io::Stretch::Given : io::Stretch::None;
        choice.range = parameters.value("stretch_range", choice.range);
        return choice;
    }
    const json& input = parameters.at("input");
    for (int band : input.at("bands").get<std::array<int, 3>>())
        choice.bands.push_back(std::to_string(band));
    for (const auto stretch :
         {io::Stretch::None, io::Stretch::Percentile, io::Stretch::MinMax, io::Stretch::Given})
        if (input.at("stretch") == stretchName(stretch)) choice.stretch = stretch;
    choice.lowPercent = input.at("percent").at(0).get<double>();
    choice.highPercent = input.at("percent").at(1).get<double>();
    choice.range = input.at("range").get<std::array<std::array<double, 2>, 3>>();
    return choice;
}

json findingsJson(const std::vector<Finding>& findings) {
    json list = json::array();
    for (const auto& finding : findings)
        list.push_back({{"code", finding.code},
                        {"severity", severityName(finding.severity)},
                        {"text", finding.text()}});
    return list;
}

const char* alphaName(io::AlphaChoice choice) {
    return choice == io::AlphaChoice::Believe  ? "yes"
           : choice == io::AlphaChoice::Ignore ? "no"
                                               : "auto";
}

json runJson(const RunRecord& record, const io::ColorSource& image) {
    const auto& r = record.request;
    const auto& p = record.plan;
    std::vector<double> tokens;
    for (int64_t side : record.tokenSides())
        tokens.push_back(static_cast<double>(side) * record.model.spacingUmPx);
    json text = {
        {"schema_version", 1},
        {"program",
         {{"name", "AtlasScope"}, {"version", ATLASSCOPE_VERSION}, {"libraries", record.versions}}},
        {"run_id", record.runId},
        {"results_version", kResultsVersion},
        {"state", runStateName(record.state)},
        {"unreadable_parts", record.unreadableParts},
        {"source",
         {{"path", r.image},
          {"fingerprint", record.sourceFingerprint},
          {"reader", image.info().reader},
          {"size", {image.info().levels[0].width, image.info().levels[0].height}}}},
        {"model",
         {{"name", record.model.name},
          {"path", r.modelDir.string()},
          {"sha256", record.modelSha256},
          {"class_names", record.model.classNames},
          {"class_colors", record.model.classColors},
          {"token_sides_um", tokens},
          {"map_names", record.model.mapNames},
          {"mass_names", record.model.massNames},
          {"resolution_unit", record.model.ground ? "m" : "um"}}},
        {"parameters",
         {{"overlap", r.overlap},
          {"mask", r.mask},
          {"mask_used", p.mask},
          {"tissue_rule", tissueRuleName(r.tissueRule)},
          {"alpha", alphaName(r.open.alpha)},
          {"attention", r.attention},
          {"precision", r.precision},
          {"batch", record.contextsAtOnce},
          {"context", r.wholeImage ? "whole" : "model"},
          {"memory_bytes", r.memoryBytes},
          {"threads", r.threads},
          {"resolution_given_um", r.resolutionUm ? json(*r.resolutionUm) : json()},
          {"region", {p.region.x, p.region.y, p.region.width, p.region.height}},
          {"input", inputJson(image, record.model)}}},
        {"plan",
         {{"um_per_pixel", {p.umPerPixelX, p.umPerPixelY}},
          {"context_px", {p.contextWidth, p.contextHeight}},
          {"columns", p.columns},
          {"rows", p.rows},
          {"contexts", p.contexts.size()},
          {"level", p.level},
          {"level_downsample", p.levelDownsample}}},
        {"device", record.device},
        {"times", {{"started", record.startedAt}, {"seconds", record.seconds}}},
        {"peak_resident_bytes", processMemory("VmHWM")},
        {"contexts_done", record.rows.size()},
        {"warnings", record.warnings},
        {"findings", findingsJson(record.findings)}};
    if (record.whole) text["whole_image"] = wholeJson(record);
    return text;
}

}  // namespace

void writeRunFiles(const fs::path& dir, const RunRecord& record, const RunLayers& layers,
                   const io::ColorSource& image) {
    const auto& info = image.info();
    io::RasterFileOptions options;
    options.georeference = info.georeference;
    options.umPerPixelX = record.plan.umPerPixelX;
    options.umPerPixelY = record.plan.umPerPixelY;
    io::RasterFileOptions classes = options;
    classes.classes = true;
    classes.classNames = record.model.classNames;
    classes.classColors = record.model.classColors;
    io::writeRasterFile(dir / "classes.tif", layers.classes, classes);
    io::writeRasterFile(dir / "prob.tif", layers.probabilities, options);
    for (size_t k = 0; k < layers.attention.size(); ++k)
        io::writeRasterFile(dir / ("attention_s" + std::to_string(k) + ".tif"), layers.attention[k],
                            options);
    if (layers.hasMass()) io::writeRasterFile(dir / "mass.tif", layers.mass, options);
    for (size_t i = 0; i < layers.contributions.size(); ++i)
        io::writeRasterFile(
            dir / ("contributions_s" + std::to_string(layers.contributionScales[i]) + ".tif"),
            layers.contributions[i], options);
    if (!layers.contributions.empty())
        io::writeRasterFile(dir / "evidence.tif", layers.evidence, classes);
    writeCsv(dir / "tiles.csv", record, info);
    writeQuPathTiles(dir / "tiles_qupath.geojson", record, info);
    writeMapTiles(dir / "tiles.geojson", record, info);
    io::writePng(dir / "overlay.png", drawOverlay(image, record, layers));
    for (const auto& [name, text] : {std::pair{"summary.json", summaryOf(record, layers)},
                                     {"run.json", runJson(record, image)}}) {
        TextFile file(dir / name);
        file.out << text.dump(1) << '\n';
        file.finish();
    }
}

std::vector<double> LoadedRun::areas() const {
    const auto& shown = layers.contributions.empty() ? layers.classes : layers.evidence;
    return classAreas(shown, region, classNames.size());
}

std::string mostFrequentClass(const RunRecord& record, const RunLayers& layers) {
    const auto& names = record.model.classNames;
    const int most = largestArea(classAreas(layers.classes, record.plan.region, names.size()));
    return most < 0 ? std::string() : names[static_cast<size_t>(most)];
}

int TileRow::best() const {
    return static_cast<int>(std::max_element(probabilities.begin(), probabilities.end()) -
                            probabilities.begin());
}

namespace {

/// Mean of each band over the cells whose centres lie in the box.
std::vector<float> meanInside(const io::GridRaster& raster, const TileRow& tile) {
    std::vector<float> means;
    if (raster.width == 0) return means;
    const auto first = [](double at, double cell) {
        return std::max(0, static_cast<int>(std::ceil(at / cell - 0.5)));
    };
    const int x0 = first(tile.x - raster.x, raster.cellWidth),
              y0 = first(tile.y - raster.y, raster.cellHeight),
              x1 = std::min(raster.width, first(tile.x + tile.width - raster.x, raster.cellWidth)),
              y1 = std::min(raster.height,
                            first(tile.y + tile.height - raster.y, raster.cellHeight));
    for (int band = 0; band < raster.bands; ++band) {
        double sum = 0;
        int64_t count = 0;
        for (int y = y0; y < y1; ++y)
            for (int x = x0; x < x1; ++x)
                if (const float v = raster.at(band, x, y); !std::isnan(v)) {
                    sum += v;
                    ++count;
                }
        means.push_back(count ? static_cast<float>(sum / static_cast<double>(count)) : 0);
    }
    return means;
}

/// Sets each tile's share of differing neighbours: the tiles nearest in the eight directions.
void compareNeighbours(std::vector<TileRow>& tiles) {
    std::map<std::pair<int64_t, int64_t>, const TileRow*> places;
    const auto place = [](double x, double y) {
        return std::pair{std::llround(y), std::llround(x)};
    };
    double stepX = 1e300, stepY = 1e300;  // the grid's stride: the least gap between tops and lefts
    std::set<int64_t> lefts, tops;
    for (const auto& tile : tiles) {
        places[place(tile.x, tile.y)] = &tile;
        lefts.insert(std::llround(tile.x));
        tops.insert(std::llround(tile.y));
    }
    const auto least = [](const std::set<int64_t>& sorted) {
        double gap = 1e300;
        for (auto it = sorted.begin(); it != sorted.end() && std::next(it) != sorted.end(); ++it)
            gap = std::min(gap, static_cast<double>(*std::next(it) - *it));
        return gap;
    };
    stepX = least(lefts);
    stepY = least(tops);
    const auto near = [&](double x, double y) -> const TileRow* {
        for (int dy = -1; dy <= 1; ++dy)  // places are rounded
            for (int dx = -1; dx <= 1; ++dx) {
                const auto at = place(x, y);
                const auto found = places.find({at.first + dy, at.second + dx});
                if (found != places.end()) return found->second;
            }
        return nullptr;
    };
    for (auto& tile : tiles) {
        int neighbours = 0, other = 0;
        for (int dy = -1; dy <= 1; ++dy)
            for (int dx = -1; dx <= 1; ++dx) {
                if ((dx == 0 && dy == 0) || (dx != 0 && stepX > 1e200) ||
                    (dy != 0 && stepY > 1e200))
                    continue;
                const TileRow* neighbour =
                    near(tile.x + (dx ? dx * stepX : 0), tile.y + (dy ? dy * stepY : 0));
                if (!neighbour || neighbour == &tile) continue;
                ++neighbours;
                other += neighbour->best() != tile.best();
            }
        if (neighbours) tile.disagreement = static_cast<double>(other) / neighbours;
    }
}

/// Numbers alone are read; the header is the writer's.
std::vector<TileRow> readTiles(const fs::path& path, size_t classes, const io::GridRaster& mass) {
    std::vector<TileRow> tiles;
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    for (size_t number = 2; std::getline(file, line); ++number) {
        std::vector<double> values;
        std::string_view rest = line;
        for (bool more = true; more;) {
            const auto value = io::takeNumber(rest);
            more = rest.starts_with(',');
            if (!value || !(more || io::isBlank(rest)))
                throw std::runtime_error("tiles.csv, line " + std::to_string(number) +
                                         ": is no list of numbers");
            values.push_back(*value);
            if (more) rest.remove_prefix(1);
        }
        if (values.size() != 4 + classes)
            throw std::runtime_error("tiles.csv, line " + std::to_string(number) + ": has " +
                                     std::to_string(values.size()) + " columns");
        TileRow tile{values[0], values[1], values[2], values[3], {values.begin() + 4, values.end()},
                     {},        -1};
        tile.meanMass = meanInside(mass, tile);
        tiles.push_back(std::move(tile));
    }
    compareNeighbours(tiles);
    return tiles;
}

}  // namespace

LoadedRun loadRun(const fs::path& dir) try {
    std::ifstream file(dir / "run.json");
    if (!file) throw std::runtime_error("no run.json there");
    const json text = json::parse(file);
    LoadedRun run;
    run.dir = dir;
    run.state = text.at("state").get<std::string>();
    run.image = text.at("source").at("path").get<std::string>();
    const auto& model = text.at("model");
    run.modelName = model.at("name").get<std::string>();
    run.modelDir = model.at("path").get<std::string>();
    run.classNames = model.at("class_names").get<std::vector<std::string>>();
    run.classColors = model.at("class_colors").get<std::vector<std::array<uint8_t, 3>>>();
    run.tokenSidesUm = model.at("token_sides_um").get<std::vector<double>>();
    run.mapNames = model.value("map_names", run.mapNames);
    run.massNames = model.value("mass_names", run.massNames);
    run.ground = model.at("resolution_unit") == "m";
    if (run.classColors.size() != run.classNames.size())
        throw std::runtime_error("class names and colours disagree");
    run.layers.classes = io::readRasterFile(dir / "classes.tif");
    run.layers.probabilities = io::readRasterFile(dir / "prob.tif");
    for (size_t k = 0; k < run.tokenSidesUm.size() &&
                       fs::exists(dir / ("attention_s" + std::to_string(k) + ".tif"));
         ++k)
        run.layers.attention.push_back(
            io::readRasterFile(dir / ("attention_s" + std::to_string(k) + ".tif")));
    if (fs::exists(dir / "mass.tif")) run.layers.mass = io::readRasterFile(dir / "mass.tif");
    for (size_t k = 0; k < run.tokenSidesUm.size(); ++k) {
        const auto path = dir / ("contributions_s" + std::to_string(k) + ".tif");
        if (!fs::exists(path)) continue;
        run.layers.contributions.push_back(io::readRasterFile(path));
        run.layers.contributionScales.push_back(static_cast<int>(k));
    }
    if (fs::exists(dir / "evidence.tif"))
        run.layers.evidence = io::readRasterFile(dir / "evidence.tif");
    run.whole = text.contains("whole_image");
    const auto& parameters = text.at("parameters");
    run.overlap = parameters.at("overlap").get<double>();
    run.mask = parameters.at("mask").get<bool>();
    run.maskUsed = parameters.value("mask_used", run.mask ? "" : "none");
    run.tissueRule = parseTissueRule(parameters.value("tissue_rule", "overlap"));
    if (const auto& um = parameters.at("resolution_given_um"); !um.is_null())
        run.resolutionUm = um.get<double>();
    run.input = inputOf(parameters);
    const auto region = parameters.at("region").get<std::array<int64_t, 4>>();
    run.region = {region[0], region[1], region[2], region[3]};
    run.tiles = readTiles(dir / "tiles.csv", run.classNames.size(), run.layers.mass);
    return run;
} catch (const std::exception& error) {
    throw std::runtime_error(dir.string() + ": " + error.what());
}

RunRequest LoadedRun::sameContexts(RunRequest base) const {
    base.modelDir = modelDir;
    base.overlap = overlap;
    base.mask = mask;
    base.tissueRule = tissueRule;
    base.resolutionUm = resolutionUm;
    base.region = region;
    base.input = input;
    base.wholeImage = whole;
    return base;
}

RunSummary readRunSummary(const fs::path& dir) try {
    std::ifstream runFile(dir / "run.json"), summaryFile(dir / "summary.json");
    if (!runFile || !summaryFile) throw std::runtime_error("run.json or summary.json is missing");
    const json run = json::parse(runFile), summary = json::parse(summaryFile);
    RunSummary result;
    result.unreadableParts = run.value("unreadable_parts", int64_t{0});
    result.warnings = run.value("warnings", result.warnings);
    result.contexts = summary.value("contexts", int64_t{0});
    if (const auto most = summary.find("most_frequent_class");
        most != summary.end() && most->is_string())
        result.mostFrequentClass = most->get<std::string>();
    return result;
} catch (const std::exception& error) {
    throw std::runtime_error(dir.string() + ": " + error.what());
}

std::string runModelName(const fs::path& dir) try {
    std::ifstream file(dir / "run.json");
    if (!file) throw std::runtime_error("no run.json there");
    return json::parse(file).at("model").at("name").get<std::string>();
} catch (const std::exception& error) {
    throw std::runtime_error(dir.string() + ": " + error.what());
}

std::vector<fs::path> findRuns(const fs::path& out, const std::string& image) {
    std::vector<std::pair<fs::file_time_type, fs::path>> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(runRoot(out, image), error))
        if (entry.is_directory() && fs::exists(entry.path() / "run.json"))
            found.emplace_back(fs::last_write_time(entry.path() / "run.json"), entry.path());
    std::sort(found.rbegin(), found.rend());
    std::vector<fs::path> paths;
    for (auto& [time, path] : found) paths.push_back(path);
    return paths;
}

}  // namespace atlas::engine
