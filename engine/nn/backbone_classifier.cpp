// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbone_classifier.h"

#include <torch/version.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/nn/answers_only.h"
#include "engine/nn/backbones/backbone.h"
#include "engine/nn/context_batch.h"
#include "engine/nn/device.h"
#include "engine/nn/model_error.h"
#include "engine/nn/safetensors.h"
#include "engine/nn/saliency.h"
#include "engine/nn/scale_map.h"
#include "engine/nn/side_by_side.h"

namespace atlas::engine {
namespace {

constexpr int64_t kGroup = 4;  // images that one thread gives to the network at once, at most

class BackboneClassifier : public AnswersOnly {
  public:
    BackboneClassifier(const std::filesystem::path& dir, ModelConfig config,
                       const ClassifierOptions& options)
        : config_(std::move(config)),
          choice_(chooseDevice(options.device == "cpu:libtorch" ? "cpu" : options.device)),
          batch_(config_.patchSizePx, config_.mean, config_.std, choice_.device) {
        setThreads(options.threads);
        try {
            network_ = Backbone::make(config_.architecture, nlohmann::json::parse(config_.backbone),
                                      loadWeights(dir / "model.safetensors", choice_.device));
        } catch (const ModelError& error) {
            throw ModelError((dir / "model.safetensors").string() + ": " + error.what());
        }
        choice_.reason += ", float32";
    }

    const ModelConfig& config() const override { return config_; }
    std::string deviceReason() const override { return choice_.reason; }
    bool isOnProcessor() const override { return choice_.device.is_cpu(); }
    std::string versions() const override { return std::string("LibTorch ") + TORCH_VERSION; }

    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool attention) const override {
        std::vector<ContextResult> results(contexts.size());
        std::vector<size_t> usable;
        for (size_t i = 0; i < contexts.size(); ++i)
            if (anyValid(contexts[i])) usable.push_back(i);
        const auto count = static_cast<int64_t>(usable.size());
        const auto group = [&](int64_t first, int64_t last) {
            some(contexts, {usable.begin() + first, usable.begin() + last}, attention, results);
        };
        if (choice_.device.is_cpu()) {
            sideBySide(count, kGroup, group);
        } else if (count > 0) {
            const at::NoGradGuard noGradient;
            group(0, count);
        }
        return results;
    }

    /// A probe too: what a place of a map's last attention attends to, mean over heads.
    ContextAnalysis analyse(const ContextPixels& context,
                            const AnalysisRequest& asked) const override {
        if (!asked.probe) return AnswersOnly::analyse(context, asked);
        AnalysisRequest rest = asked;
        rest.probe.reset();
        ContextAnalysis analysis = AnswersOnly::analyse(context, rest);
        if (analysis.probabilities.empty()) return analysis;
        const auto& strides = config_.mapSidesPx;
        const auto scale = static_cast<size_t>(asked.probe->scale);
        const double places =
            static_cast<double>(config_.patchSizePx) / static_cast<double>(strides.at(scale));
        BackboneTrace trace;
        trace.probedMap = asked.probe->scale;
        trace.probe.u = (static_cast<double>(asked.probe->column) + 0.5) / places;
        trace.probe.v = (static_cast<double>(asked.probe->row) + 0.5) / places;
        const at::NoGradGuard noGradient;
        network_->forward(batch_.images({context}, {0}).to(choice_.device), &trace);
        if (!trace.probe.weights.defined())
            throw ModelError(config_.name + ": this stage has no attention between places");
        analysis.probe.resize(strides.size());
        analysis.probe[scale] = scaleMapOf(trace.probe.weights[0]);
        return analysis;
    }

  protected:
    ScaleMap gradientOf(const ContextPixels& context, GradientMap kind, int label) const override {
        if (kind == GradientMap::GradCam)
            throw ModelError(config_.name +
                             ": Grad-CAM is for exported TorchScript models; this network has "
                             "attention maps and input gradients");
        return inputGradient(
            batch_.images({context}, {0}).to(choice_.device),
            [&](const at::Tensor& x) { return network_->forward(x).select(1, label).sum(); });
    }
    std::string whyNotInside() const override {
        return "only Atlas networks can be followed back or run without a scale or tokens";
    }

  private:
    /// Of one or more usable contexts.
    void some(const std::vector<ContextPixels>& contexts, const std::vector<size_t>& which,
              bool attention, std::vector<ContextResult>& results) const {
        BackboneTrace trace;
        trace.attention = attention;
        const at::Tensor images = choice_.device.is_cpu() ? batch_.images(contexts, which)
                                                          : batch_.imagesOnDevice(contexts, which);
        const at::Tensor probabilities =
            network_->forward(images, &trace).to(at::kFloat).softmax(1).to(at::kCPU).contiguous();
        for (size_t i = 0; i < which.size(); ++i) {
            ContextResult& result = results[which[i]];
            const float* first = probabilities.const_data_ptr<float>() +
                                 static_cast<int64_t>(i) * probabilities.size(1);
            result.probabilities.assign(first, first + probabilities.size(1));
            for (const auto& map : trace.maps)
                result.received.push_back(scaleMapOf(map[static_cast<int64_t>(i)]));
            for (const auto& share : trace.mass) {
                result.mass.push_back(scaleMapOf(share[static_cast<int64_t>(i)]));
                result.meanMass.push_back(meanInside(result.mass.back(), contexts[which[i]]));
            }
        }
    }

    /// Over the places whose middle has data.
    float meanInside(const ScaleMap& map, const ContextPixels& context) const {
        const int64_t px = config_.patchSizePx;
        double sum = 0, places = 0;
        for (int64_t y = 0; y < map.side; ++y)
            for (int64_t x = 0; x < map.side; ++x) {
                const int64_t row = (2 * y + 1) * px / (2 * map.side),
                              column = (2 * x + 1) * px / (2 * map.side);
                if (context.rgba[static_cast<size_t>(4 * (row * px + column) + 3)] == 0) continue;
                sum += map.values[static_cast<size_t>(y * map.side + x)];
                ++places;
            }
        return static_cast<float>(places > 0 ? sum / places : 0);
    }

    ModelConfig config_;
    DeviceChoice choice_;
    ContextBatch batch_;
    std::unique_ptr<Backbone> network_;
};

}  // namespace

std::unique_ptr<Classifier> openBackbone(const std::filesystem::path& dir,
                                         const ModelConfig& config,
                                         const ClassifierOptions& options) {
    return std::make_unique<BackboneClassifier>(dir, config, options);
}

}  // namespace atlas::engine
