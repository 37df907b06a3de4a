// SPDX-License-Identifier: Apache-2.0
// Atlas as the original computes it, in plain LibTorch operations: unfused convolutions in NCHW,
// BatchNorm on its own, keys of coarser scales repeated and concatenated, one
// scaled_dot_product_attention. What benchmarks compare with; whole squares of section 2 alone.
#pragma once

#include "engine/nn/atlas.h"

namespace atlas::engine {

class PlainAtlas {
  public:
    /// `network` must not be folded and must outlive this.
    explicit PlainAtlas(const Atlas& network) : network_(network) {}

    at::Tensor forward(const at::Tensor& image) const;
    at::Tensor stem(const at::Tensor& image) const;
    /// tokens: [B, n, n, C] -> logits.
    at::Tensor blocks(const at::Tensor& tokens) const;

  private:
    const Atlas& network_;
};

/// One attention over own and parents' keys, repeated and concatenated.
at::Tensor plainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace atlas::engine
