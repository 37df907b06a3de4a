// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/model_error.h"
#include "engine/training/trainer.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

void readRange(const json& from, const char* key, double& low, double& high) {
    if (!from.contains(key)) return;
    const auto values = from.at(key).get<std::array<double, 2>>();
    if (!(values[0] >= 0 && values[0] <= values[1]))
        throw ModelError(std::string("\"") + key + "\" must be [low, high]");
    low = values[0];
    high = values[1];
}

TrainingOptions readOptions(const json& from) {
    TrainingOptions o;
    o.epochs = from.value("epochs", o.epochs);
    o.batch = from.value("batch", o.batch);
    o.learningRate = from.value("learning_rate", o.learningRate);
    o.minLearningRate = from.value("min_learning_rate", o.minLearningRate);
    o.weightDecay = from.value("weight_decay", o.weightDecay);
    o.warmupEpochs = from.value("warmup_epochs", o.warmupEpochs);
    o.labelSmoothing = from.value("label_smoothing", o.labelSmoothing);
    o.mixupAlpha = from.value("mixup_alpha", o.mixupAlpha);
    o.mixupProbability = from.value("mixup_probability", o.mixupProbability);
    o.dropPath = from.value("drop_path", o.dropPath);
    o.clipNorm = from.value("clip_norm", o.clipNorm);
    o.ema = from.value("ema", o.ema);
    o.seed = from.value("seed", o.seed);
    o.precision = from.value("precision", o.precision);
    o.contextSizes = from.value("context_sizes", o.contextSizes);
    for (const int64_t side : o.contextSizes)
        if (side < 16 || side > 8192)
            throw ModelError("\"context_sizes\" must lie between 16 and 8192");
    auto& a = o.augment;
    a.flips = from.value("flips", a.flips);
    a.quarterTurns = from.value("quarter_turns", a.quarterTurns);
    a.erase = from.value("erase", a.erase);
    readRange(from, "crop_area", a.cropAreaMin, a.cropAreaMax);
    readRange(from, "brightness", a.brightnessMin, a.brightnessMax);
    readRange(from, "contrast", a.contrastMin, a.contrastMax);
    readRange(from, "saturation", a.saturationMin, a.saturationMax);
    if (o.epochs < 1 || o.batch < 1 || o.batch > 4096)
        throw ModelError("\"epochs\" and \"batch\" must be above 0");
    if (o.precision != "auto" && o.precision != "fp32" && o.precision != "bf16")
        throw ModelError("\"precision\" must be auto, fp32 or bf16");
    return o;
}

}  // namespace

TrainingPlan TrainingPlan::load(const std::filesystem::path& path) try {
    std::ifstream file(path);
    if (!file) throw ModelError("cannot be opened");
    const json text = json::parse(file);
    const json& model = text.at("model");
    TrainingPlan plan;
    plan.model.name = model.at("name").get<std::string>();
    plan.model.description = model.value("description", "");
    plan.model.licence = model.value("licence", "");
    plan.model.classColors = model.value("class_colors", plan.model.classColors);
    plan.model.patchSizePx = model.at("patch_size_pixels").get<int64_t>();
    if (plan.model.patchSizePx < 16 || plan.model.patchSizePx > 8192)
        throw ModelError("\"patch_size_pixels\" must lie between 16 and 8192");
    plan.model.spacingUmPx = model.at("spacing_um_px").get<double>();
    plan.model.ground = model.value("resolution_unit", "um") == "m";
    plan.model.mean = model.value("mean", std::vector<float>{0.485f, 0.456f, 0.406f});
    plan.model.std = model.value("std", std::vector<float>{0.229f, 0.224f, 0.225f});
    plan.model.network = AtlasConfig::fromJson(model.at("network"));
    if (plan.model.network.stages.empty()) throw ModelError("\"network\" has no stages");
    if (plan.model.network.inChannels != 3) throw ModelError("training needs three channels");
    plan.options = readOptions(text.value("training", json::object()));
    return plan;
} catch (const std::exception& error) {
    throw ModelError(path.string() + ": " + error.what());
}

}  // namespace atlas::engine
