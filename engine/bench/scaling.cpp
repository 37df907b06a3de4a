// SPDX-License-Identifier: Apache-2.0
#include "engine/bench/scaling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/nn/atlas_runner.h"
#include "engine/nn/backbones/backbone.h"
#include "engine/nn/backbones/backbone_layers.h"
#include "engine/nn/machine.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
using Forward = std::function<void(const at::Tensor&)>;

struct Entry {
    std::string name;
    int64_t parameters = 0, multiple = 1;
    std::function<Forward()> make;  ///< builds the network; freed before the next one
};

/// ViT-S/16: 12 layers of full attention over all tokens.
class PlainVit {
  public:
    static constexpr int64_t kDim = 384, kHeads = 6, kLayers = 12, kPatch = 16;

    explicit PlainVit(WeightReader& reader) {
        patch_ = Conv::read(reader, "patch", {3, kDim, kPatch, kPatch, 0, 1});
        for (int64_t i = 0; i < kLayers; ++i) {
            const std::string name = std::to_string(i);
            layers_.push_back(
                {LayerNorm::read(reader, name + ".norm1", kDim),
                 Projection::read(reader, name + ".qkv", kDim, 3 * kDim),
                 Projection::read(reader, name + ".proj", kDim, kDim),
                 ResidualMlp::read(reader, name + ".mlp",
                                   LayerNorm::read(reader, name + ".norm2", kDim), 4 * kDim)});
        }
        head_ = Linear::read(reader, "head", kDim, 1000);
    }

    void forward(const at::Tensor& image) const {
        at::Tensor x = mapToTokens(patch_(image)).contiguous();
        for (const auto& layer : layers_) {
            const auto parts = layer.qkv(layer.norm1(x)).chunk(3, -1);
            x = x + layer.proj(mergeHeads(attend(splitHeads(parts[0], kHeads),
                                                 splitHeads(parts[1], kHeads),
                                                 splitHeads(parts[2], kHeads), {}, 0.125)));
            x = layer.mlp(x);
        }
        head_(x.mean(at::IntArrayRef({1})));
    }

  private:
    struct Layer {
        LayerNorm norm1;
        Projection qkv, proj;
        ResidualMlp mlp;
    };
    Conv patch_;
    std::vector<Layer> layers_;
    Linear head_;
};

StateDict randomWeights(const std::vector<std::pair<std::string, std::vector<int64_t>>>& asked) {
    StateDict weights;
    for (const auto& [name, shape] : asked)
        weights[name] = name.ends_with("running_var") ? at::ones(shape) : at::randn(shape) * 0.02;
    return weights;
}

int64_t numbersIn(const StateDict& weights) {
    int64_t count = 0;
    for (const auto& [name, tensor] : weights)
        if (name.find("running_") == std::string::npos) count += tensor.numel();
    return count;
}

/// `external`: the first stage looks at memories instead (external_attention.h).
AtlasConfig smallAtlas(bool external) {
    AtlasConfig config;
    config.dim = 384;
    config.stemWidth = config.dim / 4;
    config.numClasses = 1000;
    config.mapping = WindowMapping::Nested;
    config.stages = {{2, 6, 4, true, 2}, {10, 6, 4, true, 1}};
    if (external) config.stages[0].blocks.assign(2, BlockAttention::External);
    return config;
}

std::vector<Entry> entries() {
    std::vector<Entry> list;
    for (const bool external : {false, true}) {
        const AtlasConfig config = smallAtlas(external);
        list.push_back({external ? "Atlas (external)" : "Atlas (dim 384)",
                        numbersIn(initialAtlasWeights(config, 1)), 16, [config] {
                            Atlas network(config, initialAtlasWeights(config, 1));
                            network.fold();
                            auto runner = std::make_shared<AtlasRunner>(network);
                            return Forward(
                                [runner](const at::Tensor& x) { runner->run(x, {}, {}); });
                        }});
    }
    for (const auto& [architecture, variant] : {std::pair{"vil", "vil_small"},
                                                {"halonet", "halonet50ts"},
                                                {"scalablevit", "scalablevit_s"}}) {
        const json config{{"variant", variant}};
        const std::string name = architecture;
        list.push_back({variant, Backbone::countParameters(name, config),
                        Backbone::describe(name, config).sizeMultiple, [name, config] {
                            std::shared_ptr<Backbone> network = Backbone::make(
                                name, config, randomWeights(Backbone::weightsOf(name, config)));
                            return Forward([network](const at::Tensor& x) { network->forward(x); });
                        }});
    }
    const StateDict none;
    WeightReader asking(none);
    PlainVit asked(asking);
    const auto shapes = asking.asked();
    list.push_back({"ViT-S/16", numbersIn(randomWeights(shapes)), 16, [shapes] {
                        const auto weights = std::make_shared<StateDict>(randomWeights(shapes));
                        WeightReader reader(*weights);
                        auto network = std::make_shared<PlainVit>(reader);
                        return Forward([network](const at::Tensor& x) { network->forward(x); });
                    }});
    return list;
}

}  // namespace

json runScaling(const ScalingOptions& options, const std::function<void(const json&)>& report) {
    const at::NoGradGuard noGradient;
    if (options.threads > 0) at::set_num_threads(options.threads);
    json networks = json::array();
    for (const auto& entry : entries()) {
        if (entry.name.find(options.filter) == std::string::npos) continue;
        json points = json::array();
        const Forward forward = entry.make();
        double last = 0;
        for (int64_t px = 256; px <= options.most; px *= 2) {
            // Each doubling takes four times as long, or more.
            if (4 * last > options.limitSeconds) break;
            const int64_t side = std::max(entry.multiple, px / entry.multiple * entry.multiple);
            const at::Tensor image = at::randn({1, 3, side, side});
            forgetPeakMemory();
            const int64_t before = processMemory("VmRSS");
            double best = 1e300, spent = 0;
            for (int i = 0; i < 3 && (i == 0 || spent + best < options.limitSeconds / 4); ++i) {
                const auto start = std::chrono::steady_clock::now();
                forward(image);
                const double s =
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
                best = std::min(best, s);
                spent += s;
            }
            last = best;
            points.push_back(
                {{"px", side},
                 {"seconds", best},
                 {"peak_bytes", std::max<int64_t>(0, processMemory("VmHWM") - before)}});
            report({{"name", entry.name}, {"point", points.back()}});
        }
        networks.push_back(
            {{"name", entry.name}, {"parameters", entry.parameters}, {"points", points}});
    }
    return {{"machine", {{"processor", processorName()}, {"threads", at::get_num_threads()}}},
            {"networks", networks}};
}

}  // namespace atlas::engine
