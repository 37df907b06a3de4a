// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_config.h"

#include <nlohmann/json.hpp>
#include <string>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

// Sizes come from files: anything above these would only serve to exhaust memory.
constexpr int64_t kMaxWidth = 16384;
constexpr int64_t kMaxDepth = 256;
constexpr int64_t kMaxClasses = 1'000'000;

int64_t readSize(const nlohmann::json& json, const char* key, int64_t fallback, int64_t limit) {
    if (!json.contains(key)) {
        if (fallback > 0) return fallback;
        throw ModelError(std::string("network configuration: \"") + key + "\" is missing");
    }
    const auto& value = json.at(key);
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > limit)
        throw ModelError(std::string("network configuration: \"") + key +
                         "\" must be a whole number from 1 to " + std::to_string(limit) + ", not " +
                         value.dump());
    return value.get<int64_t>();
}

constexpr const char* kMultiScale = "multi_scale";
constexpr const char* kExternal = "external";

BlockAttention readAttention(const nlohmann::json& name) {
    if (name == kMultiScale) return BlockAttention::MultiScale;
    if (name == kExternal) return BlockAttention::External;
    throw ModelError("network configuration: \"block_attention\" holds " + name.dump() +
                     ", not multi_scale or external");
}

AtlasStageConfig readStage(const nlohmann::json& json, int64_t dim) {
    AtlasStageConfig stage;
    stage.depth = readSize(json, "depth", 0, kMaxDepth);
    stage.heads = readSize(json, "num_heads", 0, kMaxWidth);
    if (dim % stage.heads != 0)
        throw ModelError("network configuration: \"num_heads\" " + std::to_string(stage.heads) +
                         " does not divide \"dim\" " + std::to_string(dim));
    stage.mlpRatio = json.value("mlp_ratio", 4.0);
    if (!(stage.mlpRatio > 0 && stage.mlpRatio <= 64))
        throw ModelError("network configuration: \"mlp_ratio\" must lie between 0 and 64");
    stage.qkvBias = json.value("qkv_bias", true);
    const int64_t scales =
        json.contains("scales") ? static_cast<int64_t>(json.at("scales").size()) : 1;
    stage.weightSets = readSize(json, "weight_sets", scales, 64);
    for (const auto& name : json.value("block_attention", nlohmann::json::array()))
        stage.blocks.push_back(readAttention(name));
    if (!stage.blocks.empty() && static_cast<int64_t>(stage.blocks.size()) != stage.depth)
        throw ModelError("network configuration: \"block_attention\" names " +
                         std::to_string(stage.blocks.size()) + " blocks of a stage of " +
                         std::to_string(stage.depth));
    stage.memorySlots = readSize(json, "memory_slots", stage.memorySlots, kMaxWidth);
    return stage;
}

}  // namespace

AtlasConfig AtlasConfig::fromJson(const nlohmann::json& json) try {
    AtlasConfig config;
    config.dim = readSize(json, "dim", 0, kMaxWidth);
    config.inChannels = readSize(json, "in_channels", 3, 4096);
    config.stemFirstWidth = readSize(json, "stem_first_width", 64, kMaxWidth);
    config.stemWidth =
        readSize(json, "stem_width", std::max<int64_t>(config.dim / 4, 1), kMaxWidth);
    config.numClasses = readSize(json, "num_classes", 1, kMaxClasses);
    config.windowSide = readSize(json, "window_side", 16, 256);
    config.poolRatio = readSize(json, "pool_ratio", 4, 16);
    if (json.contains("max_scales") && json.at("max_scales") != 0)
        config.maxScales = readSize(json, "max_scales", 1, 64);
    if (config.windowSide < 2 || config.poolRatio < 2 || config.windowSide % config.poolRatio)
        throw ModelError(
            "network configuration: \"window_side\" must be a multiple of \"pool_ratio\", both "
            "above 1");
    const std::string mapping = json.value("window_mapping", "raster");
    if (mapping != "raster" && mapping != "nested")
        throw ModelError("network configuration: \"window_mapping\" is \"" + mapping +
                         "\", not raster or nested");
    config.mapping = mapping == "nested" ? WindowMapping::Nested : WindowMapping::Raster;
    for (const auto& stage : json.value("stages", nlohmann::json::array()))
        config.stages.push_back(readStage(stage, config.dim));
    if (config.stages.size() > 64) throw ModelError("network configuration: too many stages");
    return config;
} catch (const nlohmann::json::exception& error) {
    throw ModelError(std::string("network configuration: ") + error.what());
}

nlohmann::json AtlasConfig::toJson() const {
    nlohmann::json json = {
        {"in_channels", inChannels},
        {"stem_first_width", stemFirstWidth},
        {"stem_width", stemWidth},
        {"dim", dim},
        {"num_classes", numClasses},
        {"window_side", windowSide},
        {"pool_ratio", poolRatio},
        {"max_scales", maxScales},
        {"window_mapping", mapping == WindowMapping::Nested ? "nested" : "raster"},
        {"stages", nlohmann::json::array()}};
    for (const auto& stage : stages) {
        json["stages"].push_back({{"depth", stage.depth},
                                  {"num_heads", stage.heads},
                                  {"mlp_ratio", stage.mlpRatio},
                                  {"qkv_bias", stage.qkvBias},
                                  {"weight_sets", stage.weightSets}});
        if (stage.blocks.empty()) continue;
        auto& block = json["stages"].back();
        block["memory_slots"] = stage.memorySlots;
        for (const auto kind : stage.blocks)
            block["block_attention"].push_back(kind == BlockAttention::External ? kExternal
                                                                                : kMultiScale);
    }
    return json;
}

}  // namespace atlas::engine
