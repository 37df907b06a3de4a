// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/torchscript_classifier.h"

#include <ATen/ops/sigmoid.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "engine/nn/answers_only.h"
#include "engine/nn/context_batch.h"
#include "engine/nn/device.h"
#include "engine/nn/model_error.h"
#include "engine/nn/pil_resize.h"
#include "engine/nn/saliency.h"
#include "engine/nn/side_by_side.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

constexpr int64_t kGroup = 4;  // images that one thread gives to the network at once, at most
constexpr size_t kFeaturesTried = 64;  // feature maps at the end of a network, for Grad-CAM

/// One step of WSInfer's "transform", in the order that the file gives.
struct Step {
    enum class Kind { Resize, ToTensor, Normalize } kind;
    int height = 0, width = 0;  ///< Resize; width 0: the shorter side becomes `height`
    std::vector<float> mean, std;
};

std::vector<Step> stepsOf(const json& transform) {
    std::vector<Step> steps;
    bool tensor = false;
    for (const auto& item : transform) {
        const auto name = item.at("name").get<std::string>();
        Step step{};
        if (name == "Resize") {
            if (tensor) throw ModelError("\"transform\": Resize after ToTensor is not known");
            step.kind = Step::Kind::Resize;
            const json size = item.at("arguments").at("size");
            step.height = size.is_array() ? size.at(0).get<int>() : size.get<int>();
            step.width = size.is_array() && size.size() > 1 ? size.at(1).get<int>() : 0;
            if (step.height < 1 || step.height > 8192 || step.width < 0 || step.width > 8192)
                throw ModelError("\"transform\": Resize to a size that makes no sense");
        } else if (name == "ToTensor") {
            step.kind = Step::Kind::ToTensor;
            tensor = true;
        } else if (name == "Normalize") {
            if (!tensor) throw ModelError("\"transform\": Normalize before ToTensor is not known");
            step.kind = Step::Kind::Normalize;
            step.mean = item.at("arguments").at("mean").get<std::vector<float>>();
            step.std = item.at("arguments").at("std").get<std::vector<float>>();
            if (step.mean.size() != 3 || step.std.size() != 3)
                throw ModelError("\"transform\": Normalize needs three values");
        } else {
            throw ModelError("\"transform\": the step \"" + name + "\" is not known");
        }
        steps.push_back(step);
    }
    if (!tensor) throw ModelError("\"transform\" has no ToTensor");
    return steps;
}

class TorchScriptClassifier : public AnswersOnly {
  public:
    TorchScriptClassifier(const std::filesystem::path& dir, ModelConfig config,
                          const ClassifierOptions& options)
        : config_(std::move(config)), choice_(chooseDevice(options.device)) {
        setThreads(options.threads);
        steps_ = stepsOf(json::parse(config_.transform));
        const auto path = dir / kTorchScriptFile;
        std::istringstream code(bytesOf(path));
        const std::string refusal = options.refuseCode(code.view());
        if (!refusal.empty()) throw ModelError(path.string() + ": " + refusal);
        try {
            module_ = torch::jit::load(code, choice_.device);
        } catch (const std::exception& error) {
            throw ModelError(path.string() + ": " + firstLine(error.what()));
        }
        module_.eval();
        choice_.reason += ", float32";
    }

    const ModelConfig& config() const override { return config_; }
    std::string deviceReason() const override { return choice_.reason; }
    bool isOnProcessor() const override { return choice_.device.is_cpu(); }
    std::string versions() const override {
        return std::string("LibTorch ") + TORCH_VERSION + ", TorchScript";
    }

    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool) const override {
        std::vector<ContextResult> results(contexts.size());
        std::vector<size_t> usable;
        for (size_t i = 0; i < contexts.size(); ++i)
            if (anyValid(contexts[i])) usable.push_back(i);
        const auto count = static_cast<int64_t>(usable.size());
        const auto group = [&](int64_t first, int64_t last) {
            some(contexts, {usable.begin() + first, usable.begin() + last}, results);
        };
        if (choice_.device.is_cpu()) {
            sideBySide(count, kGroup, group);
        } else if (count > 0) {
            const at::NoGradGuard noGradient;
            group(0, count);
        }
        return results;
    }

  protected:
    ScaleMap gradientOf(const ContextPixels& context, GradientMap kind, int label) const override {
        const at::Tensor image = transformed(context).unsqueeze(0).to(choice_.device);
        const auto score = [&](const at::Tensor& logits) {
            // The class that a single output leaves over is its absence.
            return config_.singleLogit ? logits.sum() * (label == 0 ? 1 : -1)
                                       : logits.select(1, label).sum();
        };
        if (kind == GradientMap::Input)
            return inputGradient(image, [&](const at::Tensor& x) { return score(forward(x)); });
        return camOf(image, score);
    }

  private:
    static std::string bytesOf(const std::filesystem::path& path) {
        std::ifstream file(path, std::ios::binary | std::ios::ate);
        const std::streamoff size = file ? std::streamoff{file.tellg()} : -1;
        if (size < 0) throw ModelError(path.string() + ": cannot be opened");
        std::string bytes;
        try {
            bytes.resize(static_cast<size_t>(size));
        } catch (const std::exception&) {
            throw ModelError(path.string() + ": there is no memory for its " +
                             std::to_string(size) + " bytes");
        }
        if (!file.seekg(0).read(bytes.data(), size))
            throw ModelError(path.string() + ": cannot be read to its end");
        return bytes;
    }

    /// Of one or more usable contexts.
    void some(const std::vector<ContextPixels>& contexts, const std::vector<size_t>& which,
              std::vector<ContextResult>& results) const {
        std::vector<at::Tensor> inputs;
        for (const size_t i : which) inputs.push_back(transformed(contexts[i]));
        // The optimiser rewrites the program after its first calls, and the answers' last bits with
        // it: a run that was interrupted would end otherwise than one that was not.
        const torch::jit::GraphOptimizerEnabledGuard asItStands(false);
        const at::Tensor logits = forward(at::stack(inputs).to(choice_.device));
        const at::Tensor plain = (logits.size(1) == 1 ? logits.sigmoid() : logits.softmax(1))
                                     .to(at::kCPU, at::kFloat)
                                     .contiguous();
        for (size_t i = 0; i < which.size(); ++i) {
            const float* first =
                plain.const_data_ptr<float>() + static_cast<int64_t>(i) * plain.size(1);
            auto& probabilities = results[which[i]].probabilities;
            probabilities.assign(first, first + plain.size(1));
            // One class: its probability and that of its absence, so that every place has an
            // answer. WSInfer's column is the first.
            if (probabilities.size() == 1) probabilities.push_back(1 - probabilities[0]);
        }
    }

    static std::string firstLine(const std::string& text) {
        return text.substr(0, text.find('\n'));
    }

    /// Runs a copy of the network's program that also gives its last feature maps.
    ScaleMap camOf(const at::Tensor& image,
                   const std::function<at::Tensor(const at::Tensor&)>& score) const try {
        const at::AutoGradMode withGradient(true);
        const auto graph = module_.get_method("forward").graph()->copy();
        torch::jit::Inline(*graph);
        std::vector<torch::jit::Value*> features;
        for (auto* node : graph->nodes())
            if (givesFeatures(*node)) features.push_back(node->output(0));
        if (features.size() > kFeaturesTried)
            features.erase(features.begin(), features.end() - kFeaturesTried);
        for (auto* value : features) graph->registerOutput(value);
        const torch::jit::GraphOptimizerEnabledGuard asItStands(false);
        torch::jit::GraphExecutor run(graph, "grad_cam");
        torch::jit::Stack stack{module_._ivalue(), image.detach().clone().requires_grad_(true)};
        run.run(stack);
        for (size_t i = stack.size() - 1; i > 0; --i) {
            const at::Tensor map = stack[i].toTensor();
            if (!hasPlaces(map) || !map.requires_grad()) continue;
            const at::Tensor gradient = torch::autograd::grad(
                {score(stack[0].toTensor())}, {map}, {}, /*retain_graph=*/true,
                /*create_graph=*/false, /*allow_unused=*/true)[0];
            if (gradient.defined()) return gradCam(map, gradient);
        }
        throw ModelError("there is no feature map with places in it; ask for input gradients");
    } catch (const std::exception& error) {
        throw ModelError(config_.name + ": Grad-CAM: " + firstLine(error.what()));
    }

    /// Whether a step may give a feature map: what follows convolutions, and not their weights.
    static bool givesFeatures(const torch::jit::Node& node) {
        static const std::set<std::string> kinds{
            "aten::conv2d",     "aten::_convolution", "aten::batch_norm", "aten::relu",
            "aten::relu_",      "aten::silu",         "aten::silu_",      "aten::gelu",
            "aten::add",        "aten::add_",         "aten::mul",        "aten::hardswish",
            "aten::hardswish_", "aten::cat",          "aten::layer_norm", "aten::permute"};
        return kinds.count(node.kind().toQualString()) && node.outputs().size() == 1 &&
               node.output()->type()->isSubtypeOf(*at::TensorType::get());
    }

    at::Tensor forward(const at::Tensor& images) const {
        at::IValue output;
        try {
            output = module_.forward({images});
        } catch (const std::exception& error) {
            throw ModelError(config_.name +
                             ": the exported model failed: " + firstLine(error.what()));
        }
        const auto outputs =
            config_.singleLogit ? int64_t{1} : static_cast<int64_t>(config_.classNames.size());
        if (!output.isTensor() || output.toTensor().dim() != 2 ||
            output.toTensor().size(0) != images.size(0) || output.toTensor().size(1) != outputs)
            throw ModelError(config_.name + ": the exported model does not give [B, " +
                             std::to_string(outputs) + "]");
        return output.toTensor();
    }

    /// Of a square of any side: WSInfer's steps, one after another.
    at::Tensor transformed(const ContextPixels& context) const {
        auto side =
            static_cast<int>(std::lround(std::sqrt(static_cast<double>(context.rgba.size()) / 4)));
        if (static_cast<size_t>(side) * static_cast<size_t>(side) * 4 != context.rgba.size())
            throw ModelError("a context is no square");
        int height = side, width = side;
        std::vector<uint8_t> rgb(static_cast<size_t>(side) * static_cast<size_t>(side) * 3);
        for (size_t i = 0; i < rgb.size() / 3; ++i)
            for (size_t c = 0; c < 3; ++c)  // black where the slide has nothing, as in WSInfer
                rgb[3 * i + c] = context.rgba[4 * i + 3] ? context.rgba[4 * i + c] : 0;
        at::Tensor x;
        for (const Step& step : steps_) {
            if (step.kind == Step::Kind::Resize) {
                const int toHeight = step.height, toWidth = step.width > 0 ? step.width : toHeight;
                rgb = resizeLikePillow(rgb.data(), height, width, 3, toHeight, toWidth);
                height = toHeight;
                width = toWidth;
            } else if (step.kind == Step::Kind::ToTensor) {
                x = at::from_blob(rgb.data(), {height, width, 3}, at::kByte)
                        .permute({2, 0, 1})
                        .to(at::kFloat)
                        .div(255)
                        .contiguous();
            } else {
                const auto column = [](const std::vector<float>& v) {
                    return at::from_blob(const_cast<float*>(v.data()), {3, 1, 1}, at::kFloat);
                };
                x = (x - column(step.mean)) / column(step.std);
            }
        }
        return x;
    }

    ModelConfig config_;
    DeviceChoice choice_;
    std::vector<Step> steps_;
    mutable torch::jit::Module module_;
};

}  // namespace

std::unique_ptr<Classifier> openTorchScript(const std::filesystem::path& dir,
                                            const ModelConfig& config,
                                            const ClassifierOptions& options) {
    if (!options.refuseCode)
        throw ModelError((dir / kTorchScriptFile).string() +
                         " is TorchScript, code that runs with your rights, and nobody was asked "
                         "whether it is trusted");
    return std::make_unique<TorchScriptClassifier>(dir, config, options);
}

}  // namespace atlas::engine
