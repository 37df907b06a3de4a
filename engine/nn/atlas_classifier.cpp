// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/atlas_classifier.h"
#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/classifier.h"
#include "engine/nn/context_batch.h"
#include "engine/nn/device.h"
#include "engine/nn/device_graph.h"
#include "engine/nn/machine.h"
#include "engine/nn/model_error.h"
#include "engine/nn/precision.h"
#include "engine/nn/safetensors.h"
#include "engine/nn/scale_map.h"

namespace atlas::engine {
namespace {

constexpr int kMostHalvings = 2;

std::vector<float> floatsOf(const at::Tensor& tensor) {
    const at::Tensor plain = tensor.to(at::kCPU).to(at::kFloat).contiguous();
    const float* values = plain.const_data_ptr<float>();
    return {values, values + plain.numel()};
}

/// What LibTorch throws where memory is short, on any device.
bool isOutOfMemory(const std::exception& error) {
    if (dynamic_cast<const std::bad_alloc*>(&error)) return true;
    const std::string text = error.what();
    return text.find("out of memory") != std::string::npos ||
           text.find("can't allocate memory") != std::string::npos;
}

template <typename Work>
auto orOutOfMemory(const Work& work) try {
    return work();
} catch (const ModelError&) {
    throw;
} catch (const std::exception& error) {
    if (isOutOfMemory(error)) throw OutOfMemory(error.what());
    throw;
}

/// [images, side, side, bands...] of one image to [bands, rows, columns]; NaN where `valid` is 0.
TokenGrid gridOf(const at::Tensor& map, int scale, int64_t rows, int64_t columns,
                 const at::Tensor& valid) {
    at::Tensor bands = map.dim() == 4 ? map[0].permute({2, 0, 1}) : map[0].unsqueeze(0);
    bands = bands.slice(1, 0, rows).slice(2, 0, columns);
    const at::Tensor plain =
        bands.masked_fill(valid.logical_not().unsqueeze(0), NAN).to(at::kFloat).contiguous();
    const float* values = plain.const_data_ptr<float>();
    return {
        scale, rows, columns, static_cast<int>(plain.size(0)), {values, values + plain.numel()}};
}

class AtlasClassifier : public Classifier {
  public:
    AtlasClassifier(const std::filesystem::path& dir, const ClassifierOptions& options)
        : dir_(dir),
          config_(loadModelConfig(dir)),
          choice_(chooseDevice(options.device)),
          batch_(config_.patchSizePx, config_.mean, config_.std, choice_.device),
          plain_([this](const at::Tensor& images) { return forward(images, {}, false); }),
          traced_([this](const at::Tensor& images) { return forward(images, {}, true); }) {
        setThreads(options.threads);
        network_ = std::make_unique<Atlas>(load(choice_.device));
        network_->fold();
        bf16_ = useBfloat16(options.precision);
        if (choice_.device.is_cpu() && bf16_ && options.precision == "auto")
            bf16_ = measured(options.cache);
        else if (isOnProcessor() && bf16_)
            warnOfBfloat16(options.cache);
        // The runner has its own weights, and it is all that the processor needs.
        if (choice_.ownKernels) {
            runner_.emplace(*network_, bf16_);
            network_.reset();
        } else {
            onDevice_.emplace(AtlasRunner::onDevice(*network_, bf16_));
        }
        choice_.reason += bf16_ ? ", bfloat16" : ", float32";
    }

    const ModelConfig& config() const override { return config_; }
    std::string deviceReason() const override { return choice_.reason; }
    bool isOnProcessor() const override { return choice_.device.is_cpu() && choice_.ownKernels; }
    std::string versions() const override { return std::string("LibTorch ") + TORCH_VERSION; }
    std::string precision() const override { return bf16_ ? "bf16" : "fp32"; }

    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool attention) const override {
        const at::NoGradGuard noGradient;
        std::vector<ContextResult> results(contexts.size());
        std::vector<size_t> usable;
        for (size_t i = 0; i < contexts.size(); ++i)
            if (anyValid(contexts[i])) usable.push_back(i);
        if (usable.empty()) return results;
        return orOutOfMemory([&] {
            // On a device the second half is packed and sent while the first is computed.
            const size_t parts = network_ && usable.size() >= 8 ? ContextBatch::kBuffers : 1;
            std::vector<std::vector<size_t>> indices(parts);
            for (size_t i = 0; i < usable.size(); ++i)
                indices[i * parts / usable.size()].push_back(usable[i]);
            std::vector<Trace> traces;
            std::vector<at::Tensor> masks;
            for (const auto& part : indices) {
                masks.push_back(batch_.masks(contexts, part));
                traces.push_back(run(contexts, part, masks.back(), attention));
            }
            for (size_t p = 0; p < parts; ++p)
                readResults(traces[p], masks[p], indices[p], attention, results);
            return results;
        });
    }

    ContextAnalysis analyse(const ContextPixels& context,
                            const AnalysisRequest& asked) const override {
        const at::NoGradGuard noGradient;
        const auto scales = static_cast<int>(config_.tokenSidesPx().size());
        if (asked.probe && (asked.probe->scale < 0 || asked.probe->scale >= scales))
            throw ModelError("the model has no scale " + std::to_string(asked.probe->scale));
        if (asked.scaleOff >= scales)
            throw ModelError("the model has no scale " + std::to_string(asked.scaleOff));
        ContextAnalysis result;
        if (!anyValid(context)) return result;
        at::Tensor mask = batch_.masks({context}, {0});
        if (!asked.tokenMask.empty()) {
            if (static_cast<int64_t>(asked.tokenMask.size()) != mask.numel())
                throw ModelError("a token mask has the wrong size");
            mask = mask * at::from_blob(const_cast<uint8_t*>(asked.tokenMask.data()), mask.sizes(),
                                        at::kByte);
        }
        if (!mask.any().item<bool>()) return result;
        RunnerRequest request;
        request.probe = asked.probe;
        request.contributions = asked.contributions;
        request.scaleOff = asked.scaleOff;
        request.flow = asked.flow;
        const RunnerOutput output = runner().run(batch_.images({context}, {0}), mask, request);
        result.logits = floatsOf(output.logits);
        result.probabilities = floatsOf(output.logits.softmax(1));
        if (asked.probe) {
            if (isExternal(*asked.probe))
                throw ModelError(config_.name +
                                 ": the tokens of this block look at learned memories, not at each "
                                 "other: choose another block to probe");
            result.probe = probeMaps(output.trace, *asked.probe);
        }
        for (const auto& depth : output.flow) {
            ContextAnalysis::Depth d{
                static_cast<int>(depth.stage), static_cast<int>(depth.block), {}};
            for (size_t k = 0; k < depth.maps.size(); ++k) {
                const auto side = static_cast<int64_t>(
                    std::lround(std::sqrt(static_cast<double>(depth.maps[k].size()))));
                d.maps.push_back(
                    side == 0 ? ScaleMap()
                              : scaleMapOf(cropped(at::tensor(depth.maps[k]).view({1, side, side}),
                                                   static_cast<int64_t>(k))));
            }
            result.flow.push_back(std::move(d));
        }
        if (!asked.contributions) return result;
        result.baseline = floatsOf(output.trace.at("baseline"));
        at::Tensor valid = mask[0].to(at::kBool);
        for (int k = 0; k < scales; ++k) {
            const auto found = output.trace.find("contributions.scale" + std::to_string(k));
            if (found != output.trace.end())
                result.contributions.push_back(
                    gridOf(found->second, k, valid.size(0), valid.size(1), valid));
            valid = coarserMask(valid);
        }
        return result;
    }

    WholeResult classifyWhole(const WholeImage& image, const WholeOptions& options,
                              const WholeProgress& progress) const override {
        const at::NoGradGuard noGradient;
        RunnerInput input;
        input.height = image.height;
        input.width = image.width;
        input.tokenMask = image.tokenMask;
        std::vector<uint8_t> rgba;
        input.pixels = [&](int64_t, int64_t row, int64_t rows, int64_t column, int64_t columns,
                           float* out, int64_t outRow) {
            rgba.resize(static_cast<size_t>(4 * rows * columns));
            image.pixels(row, rows, column, columns, rgba.data());
            at::parallel_for(0, rows, 8, [&](int64_t from, int64_t to) {
                for (int64_t y = from; y < to; ++y)
                    batch_.normaliseRow(rgba.data() + 4 * y * columns, columns, out + y * outRow);
            });
        };
        RunnerRequest request;
        request.attention = options.attention;
        request.contributions = true;
        RunnerOptions runnerOptions;
        runnerOptions.memoryBytes = options.memoryBytes;
        runnerOptions.scratch = options.scratch;
        runnerOptions.checkpoints = !options.key.empty() && !options.scratch.empty();
        runnerOptions.key = options.key;
        std::vector<std::string> notes;
        const RunnerOutput output = runWhole(input, request, runnerOptions, progress, notes);
        WholeResult result = readWhole(image, output);
        result.notes = std::move(notes);
        return result;
    }

  private:
    Atlas load(at::Device device) const try {
        return Atlas(config_.network, loadWeights(dir_ / "model.safetensors", device));
    } catch (const ModelError&) {
        throw;
    } catch (const std::exception& error) {
        throw ModelError((dir_ / "model.safetensors").string() + ": " + error.what());
    }

    /// What is measured, as precision.json names it.
    std::string measuredWork() const {
        return config_.network.toJson().dump() + std::to_string(config_.patchSizePx) + " " +
               cpuKernels().name;
    }

    /// Is bfloat16 faster for this network on this machine?
    bool measured(const std::filesystem::path& cache) const {
        if (const auto before = rememberedFasterInBfloat16(cache, measuredWork())) return *before;
        const int64_t side = config_.patchSizePx;
        const at::NoGradGuard noGradient;
        const at::Tensor image = at::zeros({1, 3, side, side}, at::kFloat);
        const AtlasRunner plain(*network_), rounded(*network_, true);
        return fasterInBfloat16(
            cache, measuredWork(), [&] { plain.run(image, {}, {}); },
            [&] { rounded.run(image, {}, {}); });
    }

    void warnOfBfloat16(const std::filesystem::path& cache) {
        const auto warning = bfloat16Warning(cpuKernels().productBf16 != nullptr,
                                             rememberedFasterInBfloat16(cache, measuredWork()));
        if (!warning.empty()) warnings_.push_back(warning);
    }

    /// The processor's path; made at its first use where a device does the everyday work.
    const AtlasRunner& runner() const {
        if (!runner_) {
            Atlas network = load(at::kCPU);
            network.fold();
            runner_.emplace(network);
        }
        return *runner_;
    }

    /// With half as much of a device's memory, twice at most, where it was too little; what a
    /// checkpoint holds is not done again.
    RunnerOutput runWhole(const RunnerInput& input, const RunnerRequest& request,
                          RunnerOptions options, const WholeProgress& progress,
                          std::vector<std::string>& notes) const {
        const AtlasRunner& runner = onDevice_ ? *onDevice_ : this->runner();
        for (int attempt = 0;; ++attempt) try {
                return orOutOfMemory([&] {
                    return runner.run(input, request, options, [&](const RunnerProgress& p) {
                        if (progress) progress(p.part, p.done);
                    });
                });
            } catch (const OutOfMemory& error) {
                if (!onDevice_ || attempt == kMostHalvings)
                    throw OutOfMemory(error.what(), std::move(notes));
                const int64_t before =
                    options.deviceBytes > 0 ? options.deviceBytes : freeMemory(choice_.device);
                options.deviceBytes = std::max<int64_t>(1, before / 2);
                notes.push_back("out of memory: went on with half of the device's memory (" +
                                memoryText(options.deviceBytes) + ")");
            }
    }

    /// Logits, and the attention maps where they are asked for.
    Trace run(const std::vector<ContextPixels>& contexts, const std::vector<size_t>& part,
              const at::Tensor& mask, bool attention) const {
        if (!network_) {
            RunnerOutput output =
                runner().run(batch_.images(contexts, part), mask, {attention, false, {}});
            output.trace["logits"] = output.logits;
            return std::move(output.trace);
        }
        const at::Tensor images = batch_.imagesOnDevice(contexts, part);
        if (!mask.all().item<bool>()) return forward(images, mask, attention);
        return (attention ? traced_ : plain_).run(images);
    }

    Trace forward(const at::Tensor& images, const at::Tensor& mask, bool attention) const {
        const Autocast autocast(bf16_, choice_.device.type());
        TraceRequest request;
        request.attention = attention;
        Trace trace;
        const at::Tensor logits =
            network_->forward(images, mask, request, attention ? &trace : nullptr);
        trace["logits"] = logits;
        return trace;
    }

    void readResults(const Trace& trace, const at::Tensor& mask, const std::vector<size_t>& part,
                     bool attention, std::vector<ContextResult>& results) const {
        const at::Tensor probabilities =
            trace.at("logits").to(at::kFloat).softmax(1).to(at::kCPU).contiguous();
        const float* values = probabilities.const_data_ptr<float>();
        const int64_t classes = probabilities.size(1);
        for (size_t i = 0; i < part.size(); ++i) {
            auto& result = results[part[i]];
            const float* first = values + static_cast<int64_t>(i) * classes;
            result.probabilities.assign(first, first + classes);
            if (attention) readAttention(trace, static_cast<int64_t>(i), mask, result);
        }
    }

    bool isExternal(const ProbePoint& point) const {
        const auto& stages = config_.network.stages;
        const auto k = static_cast<size_t>(std::max<int64_t>(0, point.stage));
        if (k >= stages.size()) return false;
        const int64_t block = point.block < 0 ? stages[k].depth - 1 : point.block;
        return block < stages[k].depth && stages[k].attentionOf(block) == BlockAttention::External;
    }

    /// Of the stage that was asked for, or the first that holds the scale.
    std::vector<ScaleMap> probeMaps(const Trace& trace, const ProbePoint& point) const {
        const size_t scales = config_.tokenSidesPx().size();
        std::vector<ScaleMap> maps(scales);
        const std::string prefix =
            "stage" + std::to_string(std::max<int64_t>(0, point.stage)) + ".probe.k";
        for (size_t k = 0; k < scales; ++k) {
            const auto found = trace.find(prefix + std::to_string(k));
            if (found != trace.end())
                maps[k] = scaleMapOf(cropped(found->second, static_cast<int64_t>(k)));
        }
        return maps;
    }

    /// [h, w] bool: tokens of the next coarser scale with a valid one below.
    at::Tensor coarserMask(const at::Tensor& valid) const {
        const int64_t r = config_.network.poolRatio, h = valid.size(0), w = valid.size(1);
        const at::Tensor padded =
            at::constant_pad_nd(valid.to(at::kFloat), {0, (r - w % r) % r, 0, (r - h % r) % r});
        return at::max_pool2d(padded.unsqueeze(0).unsqueeze(0), {r, r}, {r, r})[0][0] > 0;
    }

    WholeResult readWhole(const WholeImage& image, const RunnerOutput& output) const {
        WholeResult result;
        result.logits = floatsOf(output.logits);
        result.probabilities = floatsOf(output.logits.softmax(1));
        result.baseline = floatsOf(output.trace.at("baseline"));
        result.windowsSkipped = output.windowsSkipped;
        result.tokenBytes = output.tokenBytes;
        result.scratchTraffic = output.scratchTraffic;
        result.usedScratchFile = output.usedScratchFile;
        const auto& network = config_.network;
        const int64_t rows = (image.height + kTokenPx - 1) / kTokenPx,
                      columns = (image.width + kTokenPx - 1) / kTokenPx;
        const auto scales =
            listScales(legalSide(std::max(rows, columns), network.windowSide, network.poolRatio),
                       network.windowSide, network.poolRatio, network.maxScales);
        result.scales = static_cast<int>(scales.size());
        result.scalesWithWeights = static_cast<int>(network.stages[0].weightSets);
        at::Tensor valid = at::ones({rows, columns}, at::kBool);
        if (!image.tokenMask.empty())
            valid = at::from_blob(const_cast<uint8_t*>(image.tokenMask.data()), {rows, columns},
                                  at::kByte)
                        .to(at::kBool);
        const at::Tensor finestValid = valid;
        for (int k = 0; k < result.scales; ++k) {
            const int64_t h = valid.size(0), w = valid.size(1);
            const auto found = output.trace.find("contributions.scale" + std::to_string(k));
            if (found != output.trace.end())
                result.contributions.push_back(gridOf(found->second, k, h, w, valid));
            const size_t stage =
                std::min<size_t>(static_cast<size_t>(k), network.stages.size() - 1);
            const auto total = output.trace.find("stage" + std::to_string(stage) +
                                                 ".attention.received_total.k" + std::to_string(k));
            if (total != output.trace.end()) {
                const at::Tensor inside = total->second[0].slice(0, 0, h).slice(1, 0, w) * valid;
                const double mean =
                    inside.sum().item<double>() / std::max<double>(1, valid.sum().item<double>());
                result.received.push_back(
                    gridOf(total->second / (mean > 0 ? mean : 1), k, h, w, valid));
            }
            valid = coarserMask(valid);
        }
        std::vector<at::Tensor> shares;
        for (int k = 0; k < result.scales; ++k) {
            const auto mass = output.trace.find("stage0.attention.mass.q0.k" + std::to_string(k));
            if (mass == output.trace.end()) return result;
            shares.push_back(mass->second);
            const at::Tensor inside =
                mass->second[0].slice(0, 0, rows).slice(1, 0, columns) * finestValid;
            result.meanMass.push_back(
                static_cast<float>(inside.sum().item<double>() / finestValid.sum().item<double>()));
        }
        result.mass = gridOf(at::stack(shares, 3), 0, rows, columns, finestValid);
        return result;
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
            result.received.push_back(scaleMapOf(mean > 0 ? map / mean : map));
        }
        const at::Tensor valid = mask[n].to(choice_.device).to(at::kFloat);
        const double count = valid.sum().item<double>();
        for (size_t k = 0; k < scales; ++k) {
            const auto& mass = trace.at("stage0.attention.mass.q0.k" + std::to_string(k));
            const at::Tensor map = cropped(mass[n].unsqueeze(0), 0) * valid;
            result.mass.push_back(scaleMapOf(map));
            result.meanMass.push_back(static_cast<float>(map.sum().item<double>() / count));
        }
    }

    std::filesystem::path dir_;
    ModelConfig config_;
    DeviceChoice choice_;
    bool bf16_ = false;
    std::unique_ptr<Atlas> network_;  ///< for a GPU
    ContextBatch batch_;
    mutable DeviceGraph plain_, traced_;
    mutable std::optional<AtlasRunner> runner_;
    std::optional<AtlasRunner> onDevice_;  ///< whole images
};

}  // namespace

std::unique_ptr<Classifier> openAtlas(const std::filesystem::path& dir,
                                      const ClassifierOptions& options) {
    return std::make_unique<AtlasClassifier>(dir, options);
}

}  // namespace atlas::engine
