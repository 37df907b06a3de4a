// SPDX-License-Identifier: Apache-2.0
// External attention (Guo et al., "Beyond Self-attention: External Attention using Two Linear
// Layers for Visual Tasks", arXiv 2105.02358, sections 3.2 and 3.3, several heads): tokens look at
// learned memories instead of each other, so that a window costs tokens x slots.
//
// In an Atlas block of this kind, after the bottom-up sums of spec 5.2, every scale s, coarsest
// first, becomes  x_s <- M_s(x_s + proj_s(E(Q_s(x_s)))) , and the pass of 5.4 is left out. With q
// one head of Q, for the valid tokens n of one window and the slots m:
//
//     a[n, m] = q[n] . mk[m]                              no 1 / sqrt d, as in the paper
//     a[n, m] = exp(a[n, m]) / sum over n of exp(a[., m])     each slot over the window's tokens
//     a[n, m] = a[n, m] / (1e-9 + sum over m of a[n, .])      each token over the slots
//     E[n]    = sum over m of a[n, m] mv[m]
//
// mk and mv are shared by all heads, windows and scales of the block: `memory.mk.weight`
// [slots, d], `memory.mv.weight` [d, slots]. Such blocks have no norm1_kv and no attn.kv.
#pragma once

#include "engine/nn/layers.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

struct ExternalMemory {
    Linear keys;    ///< d to slots
    Linear values;  ///< slots to d

    /// Reads `<prefix>memory.mk` and `<prefix>memory.mv`.
    static ExternalMemory read(WeightReader& reader, const std::string& prefix, int64_t headSize,
                               int64_t slots);
};

struct ExternalAttention {
    at::Tensor out;       ///< as the queries
    at::Tensor received;  ///< [windows, tokens]: what the slots take from each, mean over heads
};

/// q: [windows, heads, tokens, d]. `valid`: bool [windows, tokens]; undefined: all. Differentiable.
ExternalAttention externalAttention(const at::Tensor& q, const ExternalMemory& memory,
                                    const at::Tensor& valid);

}  // namespace atlas::engine
