// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <algorithm>

#include "engine/nn/atlas.h"
#include "engine/nn/autocast.h"
#include "engine/nn/classifier.h"
#include "engine/nn/device.h"
#include "engine/nn/model_error.h"
#include "engine/nn/precision.h"
#include "engine/nn/safetensors.h"

namespace atlas::engine {
namespace {

constexpr int64_t kTokenPx = 16;

ScaleMap mapOf(const at::Tensor& map) {
    const at::Tensor plain = map.to(at::kCPU).to(at::kFloat).contiguous();
    const float* values = plain.const_data_ptr<float>();
    return {plain.size(0), {values, values + plain.numel()}};
}

class AtlasClassifier : public Classifier {
  public:
    AtlasClassifier(const std::filesystem::path& dir, const ClassifierOptions& options)
        : config_(loadModelConfig(dir)),
          choice_(chooseDevice(options.device)),
          bf16_(useBfloat16(options.precision)),
          network_(load(dir)) {
        if (options.threads > 0) at::set_num_threads(options.threads);
        network_.fold();
    }

    const ModelConfig& config() const override { return config_; }
    std::string deviceReason() const override { return choice_.reason; }
    std::string versions() const override { return std::string("LibTorch ") + TORCH_VERSION; }

    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool attention) const override {
        const at::NoGradGuard noGradient;
        std::vector<ContextResult> results(contexts.size());
        std::vector<size_t> usable;
        for (size_t i = 0; i < contexts.size(); ++i)
            if (anyValid(contexts[i])) usable.push_back(i);
        if (usable.empty()) return results;
        const at::Tensor images = imagesOf(contexts, usable);
        const at::Tensor mask = maskOf(contexts, usable);
        Trace trace;
        at::Tensor probabilities;
        {
            const Autocast autocast(bf16_, choice_.device.type());
            TraceRequest request;
            request.attention = attention;
            probabilities = network_.forward(images, mask, request, attention ? &trace : nullptr)
                                .to(at::kFloat)
                                .softmax(1)
                                .to(at::kCPU)
                                .contiguous();
        }
        const float* values = probabilities.const_data_ptr<float>();
        const int64_t classes = probabilities.size(1);
        for (size_t i = 0; i < usable.size(); ++i) {
            auto& result = results[usable[i]];
            const float* first = values + static_cast<int64_t>(i) * classes;
            result.probabilities.assign(first, first + classes);
            if (attention) readAttention(trace, static_cast<int64_t>(i), mask, result);
        }
        return results;
    }

    std::vector<ScaleMap> probe(const ContextPixels& context, int scale, int64_t row,
                                int64_t column) const override {
        const at::NoGradGuard noGradient;
        const size_t scales = config_.tokenSidesPx().size();
        std::vector<ScaleMap> maps(scales);
        if (!anyValid(context) || scale < 0 || static_cast<size_t>(scale) >= scales) return maps;
        TraceRequest request;
        request.probe = ProbePoint{scale, row, column};
        Trace trace;
        network_.forward(imagesOf({context}, {0}), maskOf({context}, {0}), request, &trace);
        for (size_t k = 0; k < scales; ++k) {
            const auto found = trace.find("stage0.probe.k" + std::to_string(k));
            if (found != trace.end())
                maps[k] = mapOf(cropped(found->second, static_cast<int64_t>(k)));
        }
        return maps;
    }

  private:
    Atlas load(const std::filesystem::path& dir) const try {
        StateDict weights = loadSafetensors(dir / "model.safetensors");
        for (auto& [name, tensor] : weights)
            if (tensor.is_floating_point()) tensor = tensor.to(choice_.device, at::kFloat);
        return Atlas(config_.network, weights);
    } catch (const ModelError&) {
        throw;
    } catch (const std::exception& error) {
        throw ModelError((dir / "model.safetensors").string() + ": " + error.what());
    }

    static bool anyValid(const ContextPixels& context) {
        for (size_t i = 3; i < context.rgba.size(); i += 4)
            if (context.rgba[i]) return true;
        return false;
    }

    /// Normalised [n, 3, side, side]; pixels without data are the mean colour, 0 after it.
    at::Tensor imagesOf(const std::vector<ContextPixels>& contexts,
                        const std::vector<size_t>& usable) const {
        const int64_t side = config_.patchSizePx;
        const auto pixels = static_cast<size_t>(side * side);
        at::Tensor images =
            at::empty({static_cast<int64_t>(usable.size()), 3, side, side}, at::kFloat);
        float* out = images.data_ptr<float>();
        for (size_t n : usable) {
            const auto& rgba = contexts[n].rgba;
            if (rgba.size() != 4 * pixels) throw ModelError("a context has the wrong size");
            for (size_t c = 0; c < 3; ++c, out += pixels) {
                const float scale = 1 / (255 * config_.std[c]),
                            shift = -config_.mean[c] / config_.std[c];
                for (size_t i = 0; i < pixels; ++i)
                    out[i] =
                        rgba[4 * i + 3] ? static_cast<float>(rgba[4 * i + c]) * scale + shift : 0;
            }
        }
        return images.to(choice_.device);
    }

    /// [n, h, w] bool: tokens that hold a valid pixel.
    at::Tensor maskOf(const std::vector<ContextPixels>& contexts,
                      const std::vector<size_t>& usable) const {
        const int64_t side = config_.patchSizePx, tokens = (side + kTokenPx - 1) / kTokenPx;
        at::Tensor mask =
            at::zeros({static_cast<int64_t>(usable.size()), tokens, tokens}, at::kByte);
        uint8_t* out = mask.data_ptr<uint8_t>();
        for (size_t n : usable) {
            for (int64_t y = 0; y < side; ++y)
                for (int64_t x = 0; x < side; ++x)
                    if (contexts[n].rgba[static_cast<size_t>(4 * (y * side + x) + 3)])
                        out[y / kTokenPx * tokens + x / kTokenPx] = 1;
            out += tokens * tokens;
        }
        return mask;
    }

    /// Without the padding of the legal square.
    at::Tensor cropped(const at::Tensor& map, int64_t scale) const {
        int64_t token = kTokenPx;
        for (int64_t s = 0; s < scale; ++s) token *= config_.network.poolRatio;
        const int64_t used = std::min((config_.patchSizePx + token - 1) / token, map.size(-1));
        const at::Tensor last = map.dim() == 3 ? map[0] : map;
        return last.slice(0, 0, used).slice(1, 0, used);
    }

    void readAttention(const Trace& trace, int64_t n, const at::Tensor& mask,
                       ContextResult& result) const {
        const size_t scales = config_.tokenSidesPx().size();
        const size_t stages = config_.network.stages.size();
        for (size_t k = 0; k < scales; ++k) {
            const size_t stage = std::min(k, stages - 1);
            const auto& total = trace.at("stage" + std::to_string(stage) +
                                         ".attention.received_total.k" + std::to_string(k));
            const at::Tensor map = cropped(total[n].unsqueeze(0), static_cast<int64_t>(k));
            const at::Tensor positive = map > 0;
            const double mean =
                map.sum().item<double>() / std::max<double>(1, positive.sum().item<double>());
            result.received.push_back(mapOf(mean > 0 ? map / mean : map));
        }
        const at::Tensor valid = mask[n].to(choice_.device).to(at::kFloat);
        const double count = valid.sum().item<double>();
        for (size_t k = 0; k < scales; ++k) {
            const auto& mass = trace.at("stage0.attention.mass.q0.k" + std::to_string(k));
            const at::Tensor map = cropped(mass[n].unsqueeze(0), 0) * valid;
            result.mass.push_back(mapOf(map));
            result.meanMass.push_back(static_cast<float>(map.sum().item<double>() / count));
        }
    }

    ModelConfig config_;
    DeviceChoice choice_;
    bool bf16_;
    Atlas network_;
};

}  // namespace

std::unique_ptr<Classifier> Classifier::open(const std::filesystem::path& modelDir,
                                             const ClassifierOptions& options) {
    return std::make_unique<AtlasClassifier>(modelDir, options);
}

}  // namespace atlas::engine
