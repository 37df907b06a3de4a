// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/backbone.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/nn/backbones/halonet.h"
#include "engine/nn/backbones/scalablevit.h"
#include "engine/nn/backbones/vil.h"
#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// Stages 1, 2, 3, 4 of a public Vision Longformer; a: 1 absolute, 0 relative positions.
std::string vilArch(const std::vector<int>& depths, const std::vector<int>& heads,
                    const std::vector<int>& widths, int absolute) {
    const int globals[] = {1, 1, 1, 0}, patches[] = {4, 2, 2, 2}, sliding[] = {1, 1, 0, 0};
    std::string arch;
    for (size_t s = 0; s < 4; ++s)
        arch += (s ? "_l" : "l") + std::to_string(s + 1) + ",h" + std::to_string(heads[s]) + ",d" +
                std::to_string(widths[s]) + ",n" + std::to_string(depths[s]) + ",s" +
                std::to_string(sliding[s]) + ",g" + std::to_string(globals[s]) + ",p" +
                std::to_string(patches[s]) + ",f7,a" + std::to_string(absolute);
    return arch;
}

struct VilRow {
    const char* name;
    std::vector<int> depths, heads, widths;
};
const std::vector<VilRow>& vilRows() {
    static const std::vector<VilRow> rows{
        {"vil_tiny", {1, 1, 9, 1}, {1, 3, 3, 6}, {48, 96, 192, 384}},
        {"vil_small", {1, 2, 8, 1}, {3, 3, 6, 12}, {96, 192, 384, 768}},
        {"vil_medium_deep", {1, 4, 16, 1}, {3, 3, 6, 12}, {96, 192, 384, 768}},
        {"vil_medium_wide", {1, 2, 8, 1}, {3, 6, 8, 12}, {192, 384, 512, 768}},
        {"vil_base_deep", {1, 8, 24, 1}, {3, 3, 6, 12}, {96, 192, 384, 768}},
        {"vil_base_wide", {1, 2, 8, 1}, {3, 6, 12, 16}, {192, 384, 768, 1024}}};
    return rows;
}

/// NAME or NAME_rpe.
json vilVariant(const json& asked) {
    const auto name = asked.at("variant").get<std::string>();
    for (const auto& row : vilRows())
        for (const bool relative : {false, true})
            if (name == std::string(row.name) + (relative ? "_rpe" : "")) {
                json config = asked;
                config["arch"] = vilArch(row.depths, row.heads, row.widths, relative ? 0 : 1);
                return config;
            }
    throw ModelError("there is no Vision Longformer called \"" + name + "\"");
}

using Maker = std::function<std::unique_ptr<Backbone>(WeightReader&, const json&)>;

const std::map<std::string, Maker>& makers() {
    static const std::map<std::string, Maker> all{
        {"vil",
         [](WeightReader& reader, const json& config) -> std::unique_ptr<Backbone> {
             return std::make_unique<Vil>(
                 reader,
                 VilConfig::fromJson(config.contains("variant") ? vilVariant(config) : config));
         }},
        {"halonet",
         [](WeightReader& reader, const json& config) -> std::unique_ptr<Backbone> {
             return std::make_unique<HaloNet>(reader, HaloNetConfig::fromJson(config));
         }},
        {"scalablevit", [](WeightReader& reader, const json& config) -> std::unique_ptr<Backbone> {
             return std::make_unique<ScalableViT>(reader, ScalableViTConfig::fromJson(config));
         }}};
    return all;
}

std::unique_ptr<Backbone> build(const std::string& architecture, const json& config,
                                WeightReader& reader) {
    const auto maker = makers().find(architecture);
    if (maker == makers().end())
        throw ModelError("the architecture \"" + architecture + "\" is not known");
    try {
        return maker->second(reader, config);
    } catch (const json::exception& error) {
        throw ModelError(architecture + ": " + error.what());
    }
}

}  // namespace

std::unique_ptr<Backbone> Backbone::make(const std::string& architecture, const json& config,
                                         const StateDict& weights) {
    const StateDict plain = withoutPrefixes(weights);
    WeightReader reader(plain);
    auto network = build(architecture, config, reader);
    reader.finish(architecture);
    return network;
}

Backbone::Description Backbone::describe(const std::string& architecture, const json& config) {
    const StateDict none;
    WeightReader reader(none);
    const auto network = build(architecture, config, reader);
    return {network->sizeMultiple(), network->maps(), network->massNames()};
}

bool Backbone::knows(const std::string& architecture) {
    return makers().contains(architecture);
}

std::vector<std::pair<std::string, std::vector<int64_t>>> Backbone::weightsOf(
    const std::string& architecture, const json& config) {
    const StateDict none;
    WeightReader reader(none);
    build(architecture, config, reader);
    return reader.asked();
}

int64_t Backbone::countParameters(const std::string& architecture, const json& config) {
    int64_t count = 0;
    for (const auto& [name, shape] : weightsOf(architecture, config)) {
        if (name.ends_with("running_mean") || name.ends_with("running_var")) continue;
        int64_t size = 1;
        for (int64_t d : shape) size *= d;
        count += size;
    }
    return count;
}

std::vector<std::string> Backbone::variants(const std::string& architecture) {
    if (architecture == "halonet") return HaloNetConfig::variants();
    if (architecture == "scalablevit") return {"scalablevit_s", "scalablevit_b", "scalablevit_l"};
    std::vector<std::string> names;
    for (const auto& row : vilRows())
        for (const char* ending : {"", "_rpe"}) names.push_back(std::string(row.name) + ending);
    return names;
}

StateDict withoutPrefixes(const StateDict& weights) {
    StateDict plain = weights;
    for (bool again = true; again && !plain.empty();) {
        again = false;
        for (const std::string prefix : {"net.", "module.", "model."}) {
            const bool all = std::all_of(plain.begin(), plain.end(), [&](const auto& entry) {
                return entry.first.starts_with(prefix);
            });
            if (!all) continue;
            StateDict shorter;
            for (auto& [name, tensor] : plain) shorter[name.substr(prefix.size())] = tensor;
            plain = std::move(shorter);
            again = true;
        }
    }
    return plain;
}

}  // namespace atlas::engine
