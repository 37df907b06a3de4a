// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/model_config.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/model_error.h"
#include "engine/nn/onnx_file.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

std::vector<float> normaliseArgument(const json& transforms, const char* key) {
    for (const auto& step : transforms)
        if (step.value("name", "") == "Normalize")
            return step.at("arguments").at(key).get<std::vector<float>>();
    throw ModelError(std::string("\"transform\" has no Normalize step with ") + key);
}

/// The optional block "input": {"bands": [...], "scaling": "..."}; a band is a number from 1 or a
/// name. The words of "scaling" are checked where an image is opened.
void readInput(const json& text, ModelConfig& config) {
    if (!text.contains("input")) return;
    const json& input = text.at("input");
    for (const auto& band : input.value("bands", json::array()))
        config.colourBands.push_back(band.is_string() ? band.get<std::string>()
                                                      : std::to_string(band.get<int64_t>()));
    if (!config.colourBands.empty() && config.colourBands.size() != 3)
        throw ModelError("\"input.bands\" must name three bands");
    config.colourScaling = input.value("scaling", "");
}

/// WSInfer's zoo: no block of ours, and an exported model beside it.
ModelConfig parseExported(const json& text, const std::string& name) {
    ModelConfig config;
    config.architecture = kTorchScript;
    config.name = name;
    config.description = text.value("architecture", "");
    config.classNames = text.at("class_names").get<std::vector<std::string>>();
    const auto classes = text.at("num_classes").get<size_t>();
    if (classes < 1 || classes != config.classNames.size() ||
        std::set(config.classNames.begin(), config.classNames.end()).size() != classes)
        throw ModelError("\"class_names\" must be unique and as many as \"num_classes\"");
    config.singleLogit = classes == 1;
    if (config.singleLogit) config.classNames.push_back("not " + config.classNames[0]);
    config.patchSizePx = text.at("patch_size_pixels").get<int64_t>();
    config.spacingUmPx = text.at("spacing_um_px").get<double>();
    if (config.patchSizePx < 16 || config.patchSizePx > 8192)
        throw ModelError("\"patch_size_pixels\" must lie between 16 and 8192");
    if (!(config.spacingUmPx > 0) || !std::isfinite(config.spacingUmPx))
        throw ModelError("\"spacing_um_px\" must be above 0");
    config.transform = text.at("transform").dump();
    config.mean = config.std = {0.5f, 0.5f, 0.5f};
    config.classColors = defaultClassColors(config.classNames.size());
    if (config.singleLogit) config.classColors[1] = {200, 200, 200};
    // What the training's pictures look like changes no answer: it is no part of what the network
    // is.
    json network = text;
    network.erase("training_record");
    config.backbone = network.dump();
    config.trainingRecord = text.value("training_record", json::object()).dump();
    readInput(text, config);
    return config;
}

ModelConfig parse(const json& text) {
    if (text.value("spec_version", "") != "1.0")
        throw ModelError("\"spec_version\" is not \"1.0\"");
    const std::string architecture = text.value("architecture", "atlas");
    if (!text.contains("atlas"))
        throw ModelError("\"architecture\" is \"" + text.value("architecture", "?") +
                         "\": this is no network of ours (no \"atlas\" block)");
    const json& ours = text.at("atlas");
    ModelConfig config;
    config.name = ours.value("name", "model");
    config.description = ours.value("description", "");
    config.licence = ours.value("licence", "");
    config.classNames = text.at("class_names").get<std::vector<std::string>>();
    const auto classes = config.classNames.size();
    if (text.at("num_classes").get<size_t>() != classes ||
        std::set(config.classNames.begin(), config.classNames.end()).size() != classes)
        throw ModelError("\"class_names\" must be unique and as many as \"num_classes\"");
    config.patchSizePx = text.at("patch_size_pixels").get<int64_t>();
    if (config.patchSizePx < 16 || config.patchSizePx > 65536)
        throw ModelError("\"patch_size_pixels\" must lie between 16 and 65536");
    config.spacingUmPx = text.at("spacing_um_px").get<double>();
    if (!(config.spacingUmPx > 0) || !std::isfinite(config.spacingUmPx))
        throw ModelError("\"spacing_um_px\" must be above 0");
    config.ground = ours.value("resolution_unit", "um") == "m";
    if (Backbone::knows(architecture)) {
        json network = ours.at("backbone");
        network["num_classes"] = classes;
        config.setBackbone(architecture, network);
    } else {
        config.network = AtlasConfig::fromJson(ours.at("network"));
        if (config.network.numClasses != static_cast<int64_t>(classes))
            throw ModelError("\"atlas.network.num_classes\" is not the number of class names");
    }
    config.mean = normaliseArgument(text.at("transform"), "mean");
    config.std = normaliseArgument(text.at("transform"), "std");
    const auto channels = static_cast<size_t>(config.isAtlas() ? config.network.inChannels : 3);
    if (config.mean.size() != channels || config.std.size() != channels)
        throw ModelError("\"transform\": Normalize needs one value a channel");
    for (float value : config.std)
        if (!(value > 0)) throw ModelError("\"transform\": Normalize needs a std above 0");
    config.classColors = ours.value("class_colors", defaultClassColors(classes));
    if (config.classColors.size() != classes)
        throw ModelError("\"atlas.class_colors\" needs one colour a class");
    config.trainingRecord = ours.value("training_record", json::object()).dump();
    readInput(ours, config);
    return config;
}

ModelConfig loadFolder(const std::filesystem::path& dir) try {
    std::ifstream file(dir / "config.json");
    if (!file) throw ModelError("no config.json there: this is no model folder");
    const json text = json::parse(file);
    if (!text.contains("atlas") && std::filesystem::exists(dir / "torchscript_model.pt")) {
        if (text.value("spec_version", "") != "1.0")
            throw ModelError("\"spec_version\" is not \"1.0\"");
        return parseExported(text, std::filesystem::absolute(dir).filename().string());
    }
    return parse(text);
} catch (const std::exception& error) {
    throw ModelError((dir / "config.json").string() + ": " + error.what());
}

}  // namespace

void ModelConfig::setBackbone(const std::string& name, const json& config) {
    const auto description = Backbone::describe(name, config);
    if (patchSizePx % description.sizeMultiple != 0)
        throw ModelError("\"patch_size_pixels\" is " + std::to_string(patchSizePx) +
                         "; this network takes multiples of " +
                         std::to_string(description.sizeMultiple));
    architecture = name;
    backbone = config.dump();
    mapSidesPx.clear();
    mapNames.clear();
    for (const auto& map : description.maps) {
        mapSidesPx.push_back(map.sidePx);
        mapNames.push_back(map.what);
    }
    massNames = description.massNames;
}

std::string ModelConfig::networkText() const {
    return isAtlas() ? network.toJson().dump() : backbone;
}

std::vector<int64_t> ModelConfig::tokenSidesPx() const {
    if (!isAtlas()) return mapSidesPx;
    const int64_t tokens = (patchSizePx + 15) / 16;
    const auto scales = listScales(legalSide(tokens, network.windowSide, network.poolRatio),
                                   network.windowSide, network.poolRatio, network.maxScales);
    std::vector<int64_t> sides;
    int64_t side = 16;
    for (size_t s = 0; s < scales.size(); ++s, side *= network.poolRatio) sides.push_back(side);
    return sides;
}

bool isModel(const std::filesystem::path& dir) {
    std::error_code error;
    return std::filesystem::exists(dir / "config.json", error) || !findOnnx(dir).empty();
}

ModelConfig loadModelConfig(const std::filesystem::path& dir) {
    if (const auto onnx = findOnnx(dir); !onnx.empty()) return configOfOnnx(onnx);
    return loadFolder(dir);
}

void saveModelConfig(const std::filesystem::path& dir, const ModelConfig& config) {
    const json transform = json::array(
        {{{"name", "Resize"}, {"arguments", {{"size", config.patchSizePx}}}},
         {{"name", "ToTensor"}},
         {{"name", "Normalize"}, {"arguments", {{"mean", config.mean}, {"std", config.std}}}}});
    json text = {{"spec_version", "1.0"},
                 {"architecture", config.architecture},
                 {"num_classes", config.classNames.size()},
                 {"class_names", config.classNames},
                 {"patch_size_pixels", config.patchSizePx},
                 {"spacing_um_px", config.spacingUmPx},
                 {"transform", transform},
                 {"atlas",
                  {{"name", config.name},
                   {"description", config.description},
                   {"licence", config.licence},
                   {"resolution_unit", config.ground ? "m" : "um"},
                   {"class_colors", config.classColors},
                   {config.isAtlas() ? "network" : "backbone", json::parse(config.networkText())},
                   {"training_record", json::parse(config.trainingRecord)}}}};
    if (!config.colourBands.empty()) text["atlas"]["input"]["bands"] = config.colourBands;
    if (!config.colourScaling.empty()) text["atlas"]["input"]["scaling"] = config.colourScaling;
    std::filesystem::create_directories(dir);
    const auto temporary = dir / "config.json.tmp";
    std::ofstream file(temporary);
    file << text.dump(2) << '\n';
    file.close();
    if (!file) throw ModelError(temporary.string() + ": cannot be written");
    std::filesystem::rename(temporary, dir / "config.json");
}

std::vector<std::array<uint8_t, 3>> defaultClassColors(size_t count) {
    // Okabe-Ito without black, then Paul Tol's "muted" and "light" sets.
    static const std::vector<std::array<uint8_t, 3>> colors{
        {230, 159, 0},   {86, 180, 233},  {0, 158, 115},   {240, 228, 66},  {0, 114, 178},
        {213, 94, 0},    {204, 121, 167}, {51, 34, 136},   {136, 204, 238}, {68, 170, 153},
        {17, 119, 51},   {153, 153, 51},  {221, 204, 119}, {204, 102, 119}, {136, 34, 85},
        {170, 68, 153},  {119, 170, 221}, {153, 221, 255}, {187, 204, 51},  {170, 170, 0},
        {238, 136, 102}, {255, 170, 187}, {221, 221, 221}};
    std::vector<std::array<uint8_t, 3>> result;
    for (size_t i = 0; i < count; ++i) result.push_back(colors[i % colors.size()]);
    return result;
}

}  // namespace atlas::engine
