// SPDX-License-Identifier: Apache-2.0
// Small layers shared by the networks. Values with their weights; forward() is const and works
// under autograd, so training and inference run the same code.
#pragma once

#include <string>

#include "engine/nn/tensor.h"
#include "engine/nn/weight_reader.h"

namespace atlas::engine {

/// What a forward pass does beyond computing: training statistics and stochastic depth.
struct ForwardMode {
    bool training = false;  ///< batch statistics in BatchNorm, stochastic depth active
    double dropPath = 0;    ///< of the block that is running
    double bnMomentum = 0.1;
};

struct Linear {
    at::Tensor weight, bias;  ///< [out, in], [out] or undefined

    static Linear read(WeightReader& reader, const std::string& name, int64_t in, int64_t out,
                       bool bias = true);
    at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

/// Over the last dimension.
struct LayerNorm {
    at::Tensor weight, bias;
    double eps = 1e-5;

    static LayerNorm read(WeightReader& reader, const std::string& name, int64_t width,
                          double eps = 1e-5);
    at::Tensor operator()(const at::Tensor& x) const {
        return at::layer_norm(x, {weight.size(0)}, weight, bias, eps);
    }
};

/// 3x3 convolution, padding 1, with an optional BatchNorm behind it. [B, C, H, W].
struct ConvNorm {
    at::Tensor weight, bias;
    at::Tensor gamma, beta, runningMean, runningVar;  ///< undefined once folded, or without norm
    int64_t stride = 1;
    double eps = 1e-5;

    static ConvNorm read(WeightReader& reader, const std::string& conv, const std::string& norm,
                         int64_t in, int64_t out, int64_t stride, bool bias, double eps);
    /// Multiplies the BatchNorm into the convolution; for inference alone.
    void fold();
    at::Tensor operator()(const at::Tensor& x, const ForwardMode& mode) const;
};

/// Stochastic depth per sample (first dimension) of a residual branch; the identity otherwise.
at::Tensor dropPath(const at::Tensor& branch, const ForwardMode& mode);

}  // namespace atlas::engine
