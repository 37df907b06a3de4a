// SPDX-License-Identifier: Apache-2.0
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/rand.h>

#include <cmath>

#include "engine/nn/atlas.h"

namespace atlas::engine {
namespace {

/// PyTorch's defaults: uniform in +-1/sqrt(fan in) for convolutions and linear layers.
class Initialiser {
  public:
    explicit Initialiser(uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}

    void linear(const std::string& name, int64_t in, int64_t out, bool bias = true) {
        uniform(name + ".weight", {out, in}, in);
        if (bias) uniform(name + ".bias", {out}, in);
    }
    void conv(const std::string& name, int64_t in, int64_t out, bool bias) {
        uniform(name + ".weight", {out, in, 3, 3}, 9 * in);
        if (bias) uniform(name + ".bias", {out}, 9 * in);
    }
    void norm(const std::string& name, int64_t width) {
        weights[name + ".weight"] = at::ones({width});
        weights[name + ".bias"] = at::zeros({width});
    }
    void batchNorm(const std::string& name, int64_t width) {
        norm(name, width);
        weights[name + ".running_mean"] = at::zeros({width});
        weights[name + ".running_var"] = at::ones({width});
    }

    StateDict weights;

  private:
    void uniform(const std::string& name, std::vector<int64_t> shape, int64_t fanIn) {
        const double bound = 1 / std::sqrt(static_cast<double>(fanIn));
        weights[name] =
            at::rand(shape, generator_, at::TensorOptions().dtype(at::kFloat)) * (2 * bound) -
            bound;
    }

    at::Generator generator_;
};

void initialiseStem(Initialiser& init, const AtlasConfig& config) {
    const std::string stem = "atlas_models.0.patch_embed.";
    const int64_t c = config.stemWidth;
    init.conv(stem + "conv0.0", config.inChannels, config.stemFirstWidth, false);
    init.batchNorm(stem + "conv0.1", config.stemFirstWidth);
    init.conv(stem + "conv0.3", config.stemFirstWidth, c, false);
    init.batchNorm(stem + "conv0.4", c);
    for (int64_t part : {1, 2})
        for (int64_t i = 0; i < 3; ++i)
            for (int64_t j : {1, 2}) {
                const std::string unit = stem + "conv" + std::to_string(part) + "." +
                                         std::to_string(i) + ".conv_block" + std::to_string(j);
                init.conv(unit + ".0", part * c, part * c, true);
                init.batchNorm(unit + ".1", part * c);
            }
    init.norm(stem + "ds1.norm", c);
    init.conv(stem + "ds1.conv", c, 2 * c, false);
    init.norm(stem + "ds2.norm", 2 * c);
    init.conv(stem + "ds2.conv", 2 * c, config.dim, false);
}

void initialiseBlock(Initialiser& init, const std::string& prefix, int64_t dim,
                     const AtlasStageConfig& stage, int64_t index) {
    const bool external = stage.attentionOf(index) == BlockAttention::External;
    if (external) {
        init.linear(prefix + "memory.mk", dim / stage.heads, stage.memorySlots, false);
        init.linear(prefix + "memory.mv", stage.memorySlots, dim / stage.heads, false);
    }
    const auto hidden = static_cast<int64_t>(std::floor(static_cast<double>(dim) * stage.mlpRatio));
    for (int64_t s = 0; s < stage.weightSets; ++s) {
        const std::string position = prefix + "posemb." + std::to_string(s) + ".projector.";
        const std::string block = prefix + "blocks." + std::to_string(s) + ".";
        init.linear(position + "0", 2, 512);
        init.linear(position + "2", 512, dim, false);
        init.norm(block + "norm1_q", dim);
        if (!external) init.norm(block + "norm1_kv", dim);
        init.linear(block + "attn.q", dim, dim, stage.qkvBias);
        if (!external) init.linear(block + "attn.kv", dim, 2 * dim, stage.qkvBias);
        init.linear(block + "attn.proj", dim, dim);
        init.norm(block + "norm2", dim);
        init.linear(block + "mlp.fc1", dim, hidden);
        init.linear(block + "mlp.fc2", hidden, dim);
    }
}

}  // namespace

StateDict initialAtlasWeights(const AtlasConfig& config, uint64_t seed) {
    Initialiser init(seed);
    initialiseStem(init, config);
    for (size_t k = 0; k < config.stages.size(); ++k)
        for (int64_t d = 0; d < config.stages[k].depth; ++d)
            initialiseBlock(
                init,
                "atlas_models." + std::to_string(k) + ".levels.0.blocks." + std::to_string(d) + ".",
                config.dim, config.stages[k], d);
    init.norm("readout_norm", config.dim);
    init.norm("fc_norm", config.dim);
    init.linear("fc", config.dim, config.numClasses);
    return std::move(init.weights);
}

}  // namespace atlas::engine
