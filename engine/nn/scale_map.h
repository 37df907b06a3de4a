// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/nn/classifier.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

/// A square map [side, side] on any device as plain values.
inline ScaleMap scaleMapOf(const at::Tensor& map) {
    const at::Tensor plain = map.to(at::kCPU).to(at::kFloat).contiguous();
    const float* values = plain.const_data_ptr<float>();
    return {plain.size(0), {values, values + plain.numel()}};
}

}  // namespace atlas::engine
