// SPDX-License-Identifier: Apache-2.0
#include "engine/training/compare_models.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/nn/machine.h"
#include "engine/nn/model_error.h"
#include "engine/training/evaluate_network.h"

namespace atlas::engine {
namespace {

constexpr size_t kBatch = 4;

int numberOf(std::vector<std::string>& names, const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    names.push_back(name);
    return static_cast<int>(names.size()) - 1;
}

}  // namespace

int64_t largestPatch(const std::vector<std::filesystem::path>& models) {
    int64_t side = 0;
    for (const auto& model : models) side = std::max(side, loadModelConfig(model).patchSizePx);
    return side;
}

ModelComparison compareModels(const std::vector<std::filesystem::path>& models,
                              const std::vector<ClassifierOptions>& options, const Dataset& data,
                              int64_t side, std::stop_token stop) {
    ModelComparison result;
    for (const auto& name : data.classNames()) numberOf(result.classNames, name);
    for (size_t m = 0; m < models.size(); ++m) {
        forgetPeakMemory();
        const int64_t before = processMemory("VmRSS");
        const auto classifier = Classifier::open(models[m], options.at(m));
        const ModelConfig& config = classifier->config();
        ModelScore score;
        score.name = config.name;
        score.architecture = config.architecture;
        score.device = classifier->deviceReason();
        score.patchPx = config.patchSizePx;
        std::vector<int> own;  // numbers of the model's classes
        for (const auto& name : config.classNames) own.push_back(numberOf(result.classNames, name));
        for (const auto& name : data.classNames())
            if (std::find(config.classNames.begin(), config.classNames.end(), name) ==
                config.classNames.end())
                score.right = -1;
        double seconds = 0;
        for (size_t first = 0; first < data.size() && !stop.stop_requested(); first += kBatch) {
            std::vector<ContextPixels> contexts;
            std::vector<int> labels;
            for (size_t i = first; i < std::min(data.size(), first + kBatch); ++i) {
                const Sample sample = data.sample(i, 0, side);
                contexts.push_back(middleOf(sample.image, config.patchSizePx));
                labels.push_back(sample.label);
            }
            const auto start = std::chrono::steady_clock::now();
            const auto answers = classifier->classify(contexts, false);
            seconds +=
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            for (size_t i = 0; i < answers.size(); ++i) {
                const auto& p = answers[i].probabilities;
                const int answer = p.empty()
                                       ? -1
                                       : own[static_cast<size_t>(
                                             std::max_element(p.begin(), p.end()) - p.begin())];
                score.answers.push_back(answer);
                ++score.count;
                // The data's classes come first in the list of all.
                if (score.right >= 0) score.right += answer == labels[i];
            }
        }
        const double megapixels =
            static_cast<double>(score.count * score.patchPx * score.patchPx) / 1e6;
        score.secondsPerMegapixel = megapixels > 0 ? seconds / megapixels : 0;
        const int64_t peak = processMemory("VmHWM");
        score.peakBytes = peak > before ? peak - before : 0;
        result.models.push_back(std::move(score));
    }
    for (const auto& a : result.models) {
        result.agreement.emplace_back();
        for (const auto& b : result.models) {
            const size_t n = std::min(a.answers.size(), b.answers.size());
            size_t same = 0;
            for (size_t i = 0; i < n; ++i) same += a.answers[i] == b.answers[i];
            result.agreement.back().push_back(n ? static_cast<double>(same) / static_cast<double>(n)
                                                : 0);
        }
    }
    return result;
}

nlohmann::json ModelComparison::toJson() const {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& m : models) {
        nlohmann::json entry{
            {"name", m.name},           {"architecture", m.architecture},
            {"device", m.device},       {"patch_px", m.patchPx},
            {"samples", m.count},       {"seconds_per_megapixel", m.secondsPerMegapixel},
            {"peak_bytes", m.peakBytes}};
        if (m.right >= 0 && m.count > 0) {
            entry["accuracy"] = static_cast<double>(m.right) / static_cast<double>(m.count);
            entry["accuracy_95"] = wilsonInterval(m.right, m.count);
        }
        list.push_back(entry);
    }
    return {{"models", list}, {"agreement", agreement}};
}

}  // namespace atlas::engine
