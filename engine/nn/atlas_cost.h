// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/nn/atlas_config.h"

namespace atlas::engine {

/// Floating-point operations of one image, a multiply-add counted as two; as the network is
/// defined, whatever a fast algorithm saves. Spec section 9.
struct AtlasCost {
    double stem = 0, projections = 0, attention = 0, mlp = 0;
    double blocks() const { return projections + attention + mlp; }
    double total() const { return stem + blocks(); }
};

/// Of a square image of `side` pixels, all tokens valid.
AtlasCost atlasCost(const AtlasConfig& config, int64_t side);

}  // namespace atlas::engine
