// SPDX-License-Identifier: Apache-2.0
// ScalableViT (arXiv 2203.10790): windows whose values talk to their neighbours (IWSA) and global
// attention over a reduced grid (SSA), by turns. Written from the specification alone.
#pragma once

#include <optional>
#include <vector>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/backbones/backbone_layers.h"

namespace atlas::engine {

struct ScalableViTConfig {
    struct Stage {
        int64_t dim = 64, heads = 2, depth = 2, window = 7, reduction = 1;
        double mlpRatio = 4, channelRatio = 1;
    };
    std::vector<Stage> stages;
    int64_t numClasses = 1000;
    bool bias = true, plainHead = false;

    static ScalableViTConfig fromJson(const nlohmann::json& json);
    /// scalablevit_s, _b, _l.
    static ScalableViTConfig variant(const std::string& name);
};

/// Scalable self-attention.
class ScalableAttention {
  public:
    ScalableAttention(WeightReader& reader, const std::string& name,
                      const ScalableViTConfig::Stage& stage, bool bias);
    /// [B, h*w, dim]. `map`: attention received, [B, h', w'] on the reduced grid.
    at::Tensor forward(const at::Tensor& x, int64_t height, int64_t width, BackboneTrace* trace,
                       const std::string& name, at::Tensor* map,
                       AttentionProbe* probe = nullptr) const;

  private:
    ScalableViTConfig::Stage stage_;
    double scale_;
    std::optional<Conv> shrink_, mix_;
    LayerNorm norm_;
    Projection q_, k_, v_, kv_, proj_;
};

/// Interactive window-based self-attention.
class InteractiveAttention {
  public:
    InteractiveAttention(WeightReader& reader, const std::string& name, int64_t dim, int64_t heads,
                         int64_t window, bool bias);
    /// [B, h*w, dim]. `map`: attention received within the windows, [B, h, w].
    at::Tensor forward(const at::Tensor& x, int64_t height, int64_t width, BackboneTrace* trace,
                       const std::string& name, at::Tensor* map = nullptr,
                       AttentionProbe* probe = nullptr) const;

  private:
    int64_t heads_, window_;
    Projection qkv_, proj_;
    Conv exchange_;
};

class ScalableViT : public Backbone {
  public:
    ScalableViT(WeightReader& reader, const ScalableViTConfig& config);
    at::Tensor forward(const at::Tensor& image, BackboneTrace* trace) const override;
    int64_t sizeMultiple() const override { return multiple_; }
    std::vector<AttentionMap> maps() const override;

  private:
    struct Block {
        LayerNorm norm1;
        std::optional<InteractiveAttention> windows;
        std::optional<ScalableAttention> scaled;
        ResidualMlp mlp;
    };
    struct Stage {
        Conv patch, position;
        LayerNorm norm;
        std::vector<Block> blocks;
    };

    ScalableViTConfig config_;
    std::vector<Stage> stages_;
    LayerNorm norm_, headNorm_;
    Linear head_, wide_;
    int64_t multiple_ = 1;
};

}  // namespace atlas::engine
