// SPDX-License-Identifier: Apache-2.0
// One multi-scale attention block of Atlas. Spec section 5, with the masks of section 11.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/nn/atlas_config.h"
#include "engine/nn/external_attention.h"
#include "engine/nn/layers.h"
#include "engine/nn/probe_point.h"
#include "engine/nn/segmented_attention.h"

namespace atlas::engine {

/// Which products a forward pass records (in the last block of each stage).
struct TraceRequest {
    bool attention = false;           ///< mass, received, received_up, received_total (spec 8)
    bool contributions = false;       ///< per token and class (spec 12)
    bool intermediate = false;        ///< everything in the golden files
    std::optional<ProbePoint> probe;  ///< one token's own attention: probe.kT maps
    /// What if: this scale's keys are masked for the queries of all other scales (pooling stays).
    int64_t scaleOff = -1;
};

/// The scales a block sees and where their valid tokens are.
struct BlockScales {
    std::vector<ScaleGeometry> geometry;
    std::vector<at::Tensor> valid;  ///< bool [B, side, side] each, or undefined
    int64_t first = 0;              ///< number of the finest one in the whole network
};

/// [B, n, n, C...] -> [B*windows, side*side, C...], batch outermost, row by row; and back.
at::Tensor toWindows(const at::Tensor& map, int64_t side);
at::Tensor toRaster(const at::Tensor& windows, int64_t side, int64_t rows);

/// Max over ratio x ratio cells of [B, h, w, C], of the valid tokens alone; 0 where there are none.
at::Tensor poolTokens(const at::Tensor& map, int64_t ratio, const at::Tensor& valid);

/// P of spec 5.1 for windows of side `side`: [side*side, C].
at::Tensor positionEmbedding(const Linear& layer0, const Linear& layer2, int64_t side);

class AtlasBlock {
  public:
    /// Reads `<prefix>posemb.S...` and `<prefix>blocks.S...`, and `<prefix>memory...` where the
    /// block's attention is external. `index`: of the block in its stage.
    AtlasBlock(WeightReader& reader, const std::string& prefix, const AtlasConfig& config,
               const AtlasStageConfig& stage, int64_t index = 0);

    /// Updates `maps` ([B, side, side, C] of each scale, finest first) in place.
    void forward(std::vector<at::Tensor>& maps, const BlockScales& scales, const ForwardMode& mode,
                 const TraceRequest& request, Trace* trace) const;

    struct WeightSet {
        Linear position0, position2;
        LayerNorm normQ, normKv, norm2;  ///< normKv and kv: not with external attention
        Linear q, kv, proj, fc1, fc2;
    };
    /// For runners that compute the same in another way.
    const std::vector<WeightSet>& sets() const { return sets_; }
    int64_t heads() const { return heads_; }
    const std::optional<ExternalMemory>& memory() const { return memory_; }

    /// P for windows of side `side` by the weights of `set`: [side*side, C] (spec 5.1); and kept,
    /// where no gradient is wanted.
    at::Tensor positionEmbedding(int64_t set, int64_t side) const;
    at::Tensor cachedPosition(int64_t set, int64_t side) const;

  private:
    struct KeyValue {
        at::Tensor k, v;
    };
    struct Pass;  // one forward pass through the block

    const WeightSet& set(int64_t scale) const;
    at::Tensor splitHeads(const at::Tensor& x) const;

    std::vector<WeightSet> sets_;
    std::optional<ExternalMemory> memory_;
    int64_t heads_;
    int64_t ratio_;
    WindowMapping mapping_;
    struct PositionCache {
        std::mutex mutex;
        std::map<std::pair<int64_t, int64_t>, at::Tensor> entries;
    };
    std::shared_ptr<PositionCache> positions_ = std::make_shared<PositionCache>();
};

}  // namespace atlas::engine
