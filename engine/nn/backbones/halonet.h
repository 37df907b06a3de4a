// SPDX-License-Identifier: Apache-2.0
// HaloNet (arXiv 2103.12731), as timm and the paper build it: residual networks in which some
// blocks attend to a square around each block of queries instead of convolving.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/backbones/backbone_layers.h"

namespace atlas::engine {

struct HaloOptions {
    int64_t block = 8, halo = 3, heads = 8, stride = 1;
    int64_t headDim = 0;  ///< of queries and keys; 0: from qkRatio
    double qkRatio = 1;
    bool bias = false, averageDown = false, scalePosition = false;

    static HaloOptions fromJson(const nlohmann::json& json);
    /// With stride 2 either the queries are strided or the output is pooled.
    bool pools() const { return stride > 1 && (averageDown || block % stride != 0); }
};

class HaloAttention {
  public:
    HaloAttention(WeightReader& reader, const std::string& name, const HaloOptions& options,
                  int64_t in, int64_t out);

    /// [B, in, H, W] to [B, out, H / stride, W / stride]; H and W multiples of the block. `map`:
    /// attention received by each place, [B, H, W], what falls on the padding left out.
    at::Tensor forward(const at::Tensor& x, BackboneTrace* trace, const std::string& name,
                       at::Tensor* map, AttentionProbe* probe = nullptr) const;
    const HaloOptions& options() const { return o_; }

  private:
    HaloOptions o_;
    int64_t headDim_, valueDim_;
    Conv q_, kv_;
    at::Tensor heightTable_, widthTable_;
};

struct HaloBlockConfig {
    bool attention = false;
    int64_t out = 0, groupSize = 0;
    double ratio = 1;       ///< of the middle to the output (or input)
    int64_t middle = 0;     ///< 0: by the ratio
    double valueRatio = 1;  ///< of the attention's output to the middle
    HaloOptions halo;
};

struct HaloNetConfig {
    struct Stage {
        int64_t stride = 1;
        std::vector<HaloBlockConfig> blocks;
    };
    std::string stem = "tiered", activation = "silu", shortcut = "conv1x1", channelAttention;
    bool stemPool = true, bottleIn = false, linearOut = false;
    int64_t stemChannels = 64, finalChannels = 0, numClasses = 1000;
    double reduction = 1.0 / 16;  ///< of squeeze and excitation
    std::vector<Stage> stages;

    static HaloNetConfig fromJson(const nlohmann::json& json);
    /// halonet26t, halonet50ts, sehalonet33ts, eca_halonext26ts, haloregnetz_b, halonet_h0 ... h7.
    static HaloNetConfig variant(const std::string& name);
    static std::vector<std::string> variants();
};

class HaloNet : public Backbone {
  public:
    HaloNet(WeightReader& reader, const HaloNetConfig& config);
    at::Tensor forward(const at::Tensor& image, BackboneTrace* trace) const override;
    int64_t sizeMultiple() const override { return multiple_; }
    std::vector<AttentionMap> maps() const override { return maps_; }

  private:
    struct Block {
        Conv first, last;
        std::optional<Conv> middle, shortcut, squeeze, excite;
        at::Tensor channelKernel;  ///< of efficient channel attention
        std::optional<HaloAttention> attention;
        std::optional<ChannelAffine> after;
        bool identity = false;
    };
    at::Tensor weighChannels(const Block& block, const at::Tensor& x) const;

    HaloNetConfig config_;
    Activation activation_;
    std::vector<Conv> stem_;
    std::vector<std::vector<Block>> stages_;
    std::optional<Conv> final_;
    Linear head_;
    int64_t multiple_ = 1;
    std::vector<AttentionMap> maps_;
};

}  // namespace atlas::engine
