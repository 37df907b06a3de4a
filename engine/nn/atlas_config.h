// SPDX-License-Identifier: Apache-2.0
// Every size of an Atlas network. Plain values; read from and written to the `atlas` block of a
// model folder's config.json and the `config` of golden cases.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "engine/nn/atlas_geometry.h"

namespace atlas::engine {

/// How the tokens of a window look at others within a block.
enum class BlockAttention {
    MultiScale,  ///< at each other and at the windows of all coarser scales (spec 5.3 and 5.4)
    External     ///< at learned memories alone (external_attention.h)
};

struct AtlasStageConfig {
    int64_t depth = 1;
    int64_t heads = 1;
    double mlpRatio = 4;
    bool qkvBias = true;
    int64_t weightSets = 1;  ///< sets of weights, finest scale first; the last serves all beyond
    std::vector<BlockAttention> blocks{};  ///< one a block; empty: all multi-scale
    int64_t memorySlots = 64;              ///< of external blocks

    BlockAttention attentionOf(int64_t block) const {
        return blocks.empty() ? BlockAttention::MultiScale : blocks.at(static_cast<size_t>(block));
    }

    bool operator==(const AtlasStageConfig&) const = default;
};

struct AtlasConfig {
    int64_t inChannels = 3;
    int64_t stemFirstWidth = 64;  ///< 64 in the original, for every size of network
    int64_t stemWidth = 192;      ///< dim / 4 in the original
    int64_t dim = 768;
    int64_t numClasses = 1000;
    int64_t windowSide = 16;
    int64_t poolRatio = 4;
    int64_t maxScales = 0;  ///< 0: as many as the image has; 1: own windows of scale 0 alone
    WindowMapping mapping = WindowMapping::Raster;
    std::vector<AtlasStageConfig> stages;

    /// Reads the keys of the golden files (`dim`, `stem_width`, `stages[].depth` ...).
    /// Throws ModelError naming the key that is missing or out of range.
    static AtlasConfig fromJson(const nlohmann::json& json);
    nlohmann::json toJson() const;

    bool operator==(const AtlasConfig&) const = default;
};

}  // namespace atlas::engine
