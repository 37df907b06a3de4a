// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/options.h"
#include "engine/pipeline/run_request.h"
#include "io/numbers.h"
#include "io/reader_registry.h"

namespace atlas::app {
namespace {

using nlohmann::json;

constexpr int64_t kReadTile = 512;
constexpr double kReadSeconds = 6;  // a check of everything gives up after that
constexpr int kHopelessTiles = 24;  // unreadable ones in a row, with nothing read before

json levelsOf(const io::ImageInfo& info) {
    json levels = json::array();
    for (const auto& level : info.levels)
        levels.push_back({{"width", level.width},
                          {"height", level.height},
                          {"downsample", level.downsample},
                          {"tile", {level.tileWidth, level.tileHeight}}});
    return levels;
}

json describe(const io::ImageInfo& info) {
    json bands = json::array();
    for (const auto& band : info.bands) {
        json entry = {{"name", band.name}};
        if (band.nodata)
            entry["nodata"] = std::isfinite(*band.nodata) ? json(*band.nodata) : json("nan");
        if (band.isScaled()) {
            entry["scale"] = band.scale;
            entry["offset"] = band.offset;
        }
        bands.push_back(entry);
    }
    json result = {{"path", info.path},        {"reader", info.reader},
                   {"format", info.format},    {"type", io::sampleTypeName(info.type)},
                   {"levels", levelsOf(info)}, {"bands", bands},
                   {"slide", info.slide},      {"mask_band", info.maskBand},
                   {"warnings", info.warnings}};
    if (info.resolution)
        result["resolution"] = {
            {"um_per_pixel", {info.resolution->umPerPixelX, info.resolution->umPerPixelY}},
            {"origin", info.resolution->origin}};
    if (info.georeference)
        result["georeference"] = {{"crs", info.georeference->crsName},
                                  {"geotransform", info.georeference->transform}};
    if (!info.associatedImages.empty()) result["associated_images"] = info.associatedImages;
    if (!info.subdatasets.empty()) result["subdatasets"] = info.subdatasets;
    return result;
}

/// Reads level 0 tile by tile, within a time limit; what was read, what was not.
json readEverything(const io::ImageSource& source) {
    const auto start = std::chrono::steady_clock::now();
    const auto& level = source.info().levels[0];
    const int bandCount = std::min<int>(4, static_cast<int>(source.info().bands.size()));
    std::vector<int> bands;
    for (int b = 0; b < bandCount; ++b) bands.push_back(b);
    int64_t tiles = 0, all = ((level.width + kReadTile - 1) / kReadTile) *
                             ((level.height + kReadTile - 1) / kReadTile);
    double valid = 0;
    int hopeless = 0;
    std::string stopped;
    for (int64_t y = 0; y < level.height && stopped.empty(); y += kReadTile)
        for (int64_t x = 0; x < level.width; x += kReadTile) {
            const io::Rect rect =
                io::intersect({x, y, kReadTile, kReadTile}, {0, 0, level.width, level.height});
            const bool damagedBefore = !source.damage().empty();
            const io::RasterBlock block = source.readRegion(0, rect, bands);
            int64_t good = 0;
            for (uint8_t v : block.valid) good += v;
            valid += static_cast<double>(good);
            ++tiles;
            const bool damagedNow = !source.damage().empty();
            hopeless = good == 0 && damagedNow && (hopeless || !damagedBefore) ? hopeless + 1 : 0;
            const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
            if (hopeless >= kHopelessTiles && valid == 0)
                stopped = "nothing readable in the first " + std::to_string(tiles) + " tiles";
            else if (passed.count() > kReadSeconds)
                stopped = "stopped after " + std::to_string(static_cast<int>(kReadSeconds)) + " s";
            if (!stopped.empty()) break;
        }
    json result = {{"tiles", all},
                   {"tiles_read", tiles},
                   {"valid_share",
                    valid / (static_cast<double>(level.width) * static_cast<double>(level.height))},
                   {"damage", source.damage()}};
    if (!stopped.empty()) result["stopped"] = stopped;
    return result;
}

void print(const json& d) {
    const auto& level = d["levels"][0];
    std::printf("%s\n  %s, %lld x %lld px, %zu level(s), %zu band(s) of %s\n",
                d["path"].get<std::string>().c_str(), d["reader"].get<std::string>().c_str(),
                level["width"].get<long long>(), level["height"].get<long long>(),
                d["levels"].size(), d["bands"].size(), d["type"].get<std::string>().c_str());
    if (d.contains("resolution"))
        std::printf(
            "  resolution: %s a pixel (%s)\n",
            engine::lengthText(d["resolution"]["um_per_pixel"][0], !d["slide"].get<bool>()).c_str(),
            d["resolution"]["origin"].get<std::string>().c_str());
    else
        std::printf("  resolution: not known\n");
    if (d.contains("georeference"))
        std::printf("  CRS: %s\n", d["georeference"]["crs"].get<std::string>().c_str());
    if (d.contains("associated_images"))
        std::printf("  associated images: %s\n", d["associated_images"].dump().c_str());
    for (const auto& name : d.value("subdatasets", json::array()))
        std::printf("  sub-dataset: %s\n", name.get<std::string>().c_str());
    for (const auto& warning : d["warnings"])
        std::printf("  note: %s\n", warning.get<std::string>().c_str());
    if (d.contains("read")) {
        io::printText(stdout, "  read: %.1f %% of the pixels hold data\n",
                      100 * d["read"]["valid_share"].get<double>());
        for (const auto& line : d["read"]["damage"])
            std::printf("  damaged: %s\n", line.get<std::string>().c_str());
        if (d["read"].contains("stopped"))
            std::printf("  %s\n", d["read"]["stopped"].get<std::string>().c_str());
    }
}

}  // namespace

int runInfo(const InfoArguments& arguments) {
    int failures = 0;
    json all = json::array();
    io::OpenOptions options;
    options.alpha = parseAlpha(arguments.alpha);
    for (const auto& path : arguments.images) {
        json entry;
        try {
            const auto source = io::openImage(path, options);
            entry = describe(source->info());
            if (arguments.readAll) {
                entry["read"] = readEverything(*source);
                if (entry["read"]["valid_share"] == 0.0 && !entry["read"]["damage"].empty())
                    throw io::ReadError(path + ": nothing can be read: " +
                                        entry["read"]["damage"][0].get<std::string>());
            }
            if (!arguments.json) print(entry);
        } catch (const std::exception& error) {
            ++failures;
            entry = {{"path", path}, {"error", error.what()}};
            if (!arguments.json) std::cerr << "atlasscope: " << error.what() << std::endl;
        }
        all.push_back(entry);
    }
    if (arguments.json)
        std::cout
            << (all.size() == 1 ? all[0] : all).dump(1, ' ', false, json::error_handler_t::replace)
            << std::endl;
    return failures ? 1 : 0;
}

}  // namespace atlas::app
