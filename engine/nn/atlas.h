// SPDX-License-Identifier: Apache-2.0
// The Atlas network (Multi-Scale Attention, arXiv 2503.12355): stem, stages, readout, head.
// Exactly atlas_forward.md, with its sections 11 (any size, masks) and 12 (contributions).
//
//     Atlas network(config, loadSafetensors("model.safetensors"));
//     network.fold();                                  // for inference
//     Trace trace;
//     at::Tensor logits = network.forward(image, {}, {.attention = true}, &trace);
#pragma once

#include <vector>

#include "engine/nn/atlas_block.h"
#include "engine/nn/atlas_config.h"
#include "engine/nn/atlas_stem.h"

namespace atlas::engine {

/// Token maps of all scales with their geometry and masks.
struct TokenMaps {
    std::vector<at::Tensor> maps;  ///< [B, side, side, C]
    BlockScales scales;
};

/// Pads [B, C, h, w] to the legal square and pools it to all scales (spec 4 and 11).
/// `tokenMask`: uint8 or bool [B, h, w], 1 = taken in; undefined: all. Throws ModelError where an
/// image of the batch has no valid token.
TokenMaps buildTokenMaps(const at::Tensor& tokens, const AtlasConfig& config,
                         const at::Tensor& tokenMask);

class AtlasStage {
  public:
    AtlasStage(WeightReader& reader, const std::string& prefix, const AtlasConfig& config,
               const AtlasStageConfig& stage);

    /// Traces of the last block under their names; `dropPaths` holds one rate a block or nothing.
    void forward(TokenMaps& tokens, const ForwardMode& mode, const TraceRequest& request,
                 Trace* trace, double dropPathMax = 0, int64_t stage = 0) const;

    const std::vector<AtlasBlock>& blocks() const { return blocks_; }

  private:
    std::vector<AtlasBlock> blocks_;
};

class Atlas {
  public:
    /// Throws ModelError naming every weight that is missing, extra or wrongly shaped.
    Atlas(const AtlasConfig& config, const StateDict& weights);

    /// Folds BatchNorm into the convolutions; for inference alone.
    void fold() { stem_.fold(); }

    /// image: normalised [B, inChannels, H, W] -> logits [B, classes].
    /// `trace` (with `request`) receives products under the golden files' names:
    /// stage0.attention.*, contributions.scaleS, baseline, pooled.*, and all intermediate results
    /// where asked for.
    at::Tensor forward(const at::Tensor& image, const at::Tensor& tokenMask,
                       const TraceRequest& request, Trace* trace,
                       const ForwardMode& mode = {}) const;

    const AtlasConfig& config() const { return config_; }

    /// For runners that compute the same in another way.
    const AtlasStem& stem() const { return stem_; }
    const std::vector<AtlasStage>& stages() const { return stages_; }
    const LayerNorm& readoutNorm() const { return readoutNorm_; }
    const LayerNorm& fcNorm() const { return fcNorm_; }
    const Linear& fc() const { return fc_; }

  private:
    at::Tensor readOut(const TokenMaps& tokens, const TraceRequest& request, Trace* trace) const;

    AtlasConfig config_;
    WeightReader reader_;
    AtlasStem stem_;
    std::vector<AtlasStage> stages_;
    LayerNorm readoutNorm_, fcNorm_;
    Linear fc_;
};

/// A state dict of that configuration with PyTorch's default initialisation, under the original's
/// names (without the tensors that no forward pass uses).
StateDict initialAtlasWeights(const AtlasConfig& config, uint64_t seed);

}  // namespace atlas::engine
