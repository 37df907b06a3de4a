// SPDX-License-Identifier: Apache-2.0
// Convolutions of the backbones in the processor's kernels, with the activation inside: 1x1 as a
// matrix product, 3x3 by Winograd's tiles. Errors stay below 1e-4 of the peak (cpu_kernels.h).
#pragma once

#include <memory>
#include <optional>

#include "engine/nn/packed_conv.h"
#include "engine/nn/packed_linear.h"

namespace atlas::engine {

class FastConv {
  public:
    /// Null where the kernels have no way that is faster: other kernels, strides and groups,
    /// channels that fill no group of lanes, 3x3 with more weights than stay in a cache, and
    /// weights on a device. `weight`: [out, in, k, k]; `bias`: [out] or undefined.
    static std::shared_ptr<const FastConv> make(const at::Tensor& weight, const at::Tensor& bias,
                                                int64_t stride, int64_t groups);

    /// x: [B, in, H, W] float32; the result has channels last.
    at::Tensor operator()(const at::Tensor& x, Activation activation) const;

  private:
    at::Tensor multiplied(const at::Tensor& x, Activation activation) const;
    at::Tensor tiled(const at::Tensor& x, Activation activation) const;

    std::optional<PackedLinear> product_;
    std::optional<PackedConv> tiles_;
};

}  // namespace atlas::engine
