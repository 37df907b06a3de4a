// SPDX-License-Identifier: Apache-2.0
// Multi-Scale Vision Longformer (arXiv 2103.15358): global tokens see everything, every other
// token sees them and the 3 x 3 windows around it.
#pragma once

#include <memory>
#include <vector>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/backbones/backbone_layers.h"

namespace atlas::engine {

struct VilStageConfig {
    int64_t heads = 3, dim = 192, depth = 1, globals = 1, patch = 2, window = 7;
    bool sliding = true;   ///< else full attention
    bool absolute = true;  ///< position embedding; else relative position bias
};

struct VilConfig {
    std::vector<VilStageConfig> stages;
    int64_t imageSize = 224, numClasses = 1000;
    int maskRule = 0;       ///< 0 inside the grid, 1 within a window's side too, -1 wrapped round
    int neighbourMode = 0;  ///< 0: 3 x 3 windows; -1: the own one alone
    bool patchNorm = true, averagePool = false;

    /// `arch`: "l1,h3,d96,n1,s1,g1,p4,f7,a1_l2,...": absent fields keep their defaults; from the
    /// first stage with s0 on, every stage is full attention.
    static VilConfig fromJson(const nlohmann::json& json);
    static std::vector<VilStageConfig> parseArch(const std::string& arch);
};

/// Attention of one layer, mean over heads: [B, height, width] each.
struct VilMaps {
    at::Tensor local;   ///< what each place receives of all places
    at::Tensor global;  ///< what the first global token spends on each place; undefined: none
    at::Tensor mass;    ///< share that each place spends on global tokens; with `global`
};

class VilAttention {
  public:
    struct Options {
        VilStageConfig stage;
        int maskRule = 0, neighbourMode = 0;
        bool globalsOnly = false;       ///< local queries see the global tokens alone
        bool bias = false;              ///< relative position bias
        int64_t height = 0, width = 0;  ///< of the grid that the weights are for
    };
    VilAttention(WeightReader& reader, const std::string& name, const Options& options);

    /// x: [B, globals + height*width, dim].
    at::Tensor forward(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                       AttentionProbe* probe = nullptr) const;

  private:
    at::Tensor full(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                    AttentionProbe* probe) const;
    at::Tensor sliding(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                       AttentionProbe* probe) const;
    at::Tensor local(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t height,
                     int64_t width, VilMaps* maps, AttentionProbe* probe) const;
    at::Tensor fullBias(const at::Tensor& table, int64_t height, int64_t width, int64_t first,
                        int64_t count) const;
    at::Tensor windowBias(int64_t halo) const;

    Options o_;
    Projection qkv_, query_, kv_, proj_, queryGlobal_, kvGlobal_, projGlobal_;
    at::Tensor table_, g2g_, g2l_;
};

class Vil : public Backbone {
  public:
    Vil(WeightReader& reader, const VilConfig& config);
    at::Tensor forward(const at::Tensor& image, BackboneTrace* trace) const override;
    int64_t sizeMultiple() const override;
    std::vector<AttentionMap> maps() const override;
    std::vector<std::string> massNames() const override;

  private:
    struct Block {
        LayerNorm norm1;
        VilAttention attention;
        ResidualMlp mlp;
    };
    struct Stage {
        VilStageConfig config;
        Conv patch;
        LayerNorm norm;
        at::Tensor globals, globalPosition, rows, columns;
        std::vector<Block> blocks;
    };

    VilConfig config_;
    std::vector<Stage> stages_;
    LayerNorm norm_;
    Linear head_;
};

}  // namespace atlas::engine
