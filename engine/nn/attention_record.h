// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/nn/attention_flow.h"
#include "engine/nn/probe_point.h"
#include "engine/nn/tensor.h"
#include "engine/nn/token_scale.h"

namespace atlas::engine {

/// What a run keeps of the attention of one block, as raster maps [images, side, side] under the
/// names of spec 8, and which keys the block goes without. Scales are numbered within the stage.
struct AttentionRecord {
    Trace* trace = nullptr;
    std::string prefix;                                ///< of the names, "stage0."
    const std::vector<TokenScale>* layouts = nullptr;  ///< of the whole network
    int64_t first = 0;  ///< number of the finest scale of the stage in the whole network
    bool maps = false;  ///< mass and received
    std::optional<ProbePoint> probe;
    int64_t scaleOff = -1;  ///< of the whole network: no other scale sees its keys
    AttentionFlow* flow = nullptr;
    int64_t stage = 0, block = 0;

    const TokenScale& layout(int64_t scale) const {
        return (*layouts)[static_cast<size_t>(first + scale)];
    }
    bool isOff(int64_t scale) const { return first + scale == scaleOff; }

    /// The raster map of that name over the tokens of scale `over`, zero at first.
    float* map(const std::string& name, int64_t over) const;
    /// Maps of what scale `q` looks at: they exist even where nobody looks.
    void makeMaps(int64_t q) const;
    /// Shares [tokens] of the attention of a window of scale `q` that fall on scale `k`.
    void addMass(int64_t q, int64_t k, int64_t slot, const float* values) const;
    /// Attention [tokens] that a window of scale `k` receives from scale `q`: of its own or of a
    /// finer one top-down, of the next coarser one from below.
    void addReceived(int64_t q, int64_t k, int64_t slot, const float* values) const;
    /// Of the token that is probed: weights [tokens] of a window of scale `k`.
    void setProbe(int64_t k, int64_t slot, const float* values) const;

  private:
    std::string pairName(const char* what, int64_t q, int64_t k) const;
};

/// Place in a raster map of a window's token.
inline int64_t placeOf(const TokenScale& layout, int64_t slot, int64_t token) {
    const auto& g = layout.geometry;
    const auto& w = layout.windows[static_cast<size_t>(slot)];
    return (w.image * g.side + w.row * g.window + token / g.window) * g.side + w.column * g.window +
           token % g.window;
}

}  // namespace atlas::engine
