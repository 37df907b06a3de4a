// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/attention_flow.h"
#include "engine/nn/token_scale.h"

namespace atlas::engine {

/// Maxima of `ratio` x `ratio` tokens of a scale, which make those of the next coarser one (spec 4
/// and 5.2), on the processor.
struct TokenPool {
    const CpuKernels& kernels;
    const TokenScale &fine, &coarse;
    int64_t ratio, dim, stride;       ///< tokens of `dim` floats, `stride` apart
    const float* tokens;              ///< [slots of fine, tokens of a window, stride]
    const float* position = nullptr;  ///< [tokens of a window, stride], added before; or null

    /// Of the windows [from, to) of the finer scale, to their tile of `pooled` [slots of coarse,
    /// tokens of a window, stride], which is theirs alone. -inf where no token is valid.
    void run(float* pooled, int64_t from, int64_t to) const;
    /// Which children the maxima are, by the share of channels.
    std::vector<AttentionFlow::Edge> edges() const;
};

}  // namespace atlas::engine
