// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/saliency.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

namespace atlas::engine {
namespace {

constexpr int64_t kMostPlaces = 64;  // a side of the input gradient's map

ScaleMap mapOf(const at::Tensor& values) {  // [h, w], square or stretched to one
    const int64_t side = std::max(values.size(0), values.size(1));
    const at::Tensor square = values.size(0) == values.size(1)
                                  ? values
                                  : at::adaptive_avg_pool2d(values.unsqueeze(0), {side, side})[0];
    const at::Tensor plain = square.to(at::kCPU, at::kFloat).contiguous();
    const float* first = plain.const_data_ptr<float>();
    return {side, {first, first + plain.numel()}};
}

bool channelsLast(const at::Tensor& features) {
    return features.size(1) == features.size(2) && features.size(2) != features.size(3);
}

}  // namespace

bool hasPlaces(const at::Tensor& features) {
    if (features.dim() != 4) return false;
    const bool last = channelsLast(features);
    return features.size(last ? 1 : 2) > 1 && features.size(last ? 2 : 3) > 1;
}

ScaleMap inputGradient(const at::Tensor& image,
                       const std::function<at::Tensor(const at::Tensor&)>& score) {
    const at::AutoGradMode withGradient(true);
    const at::Tensor x = image.detach().clone().requires_grad_(true);
    const at::Tensor gradient = torch::autograd::grad({score(x)}, {x})[0];
    const at::Tensor strength = gradient.detach().abs().sum(1);  // [1, H, W]
    const int64_t side = std::min({kMostPlaces, strength.size(1), strength.size(2)});
    return mapOf(at::adaptive_avg_pool2d(strength, {side, side})[0]);
}

ScaleMap gradCam(const at::Tensor& features, const at::Tensor& gradient) {
    const at::NoGradGuard noGradient;
    const bool last = channelsLast(features);
    const at::Tensor f = last ? features.permute({0, 3, 1, 2}) : features;
    const at::Tensor g = last ? gradient.permute({0, 3, 1, 2}) : gradient;
    return mapOf((g.mean({2, 3}, /*keepdim=*/true) * f).sum(1).relu()[0].detach());
}

}  // namespace atlas::engine
