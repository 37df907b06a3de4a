// SPDX-License-Identifier: Apache-2.0
// Maps from gradients, for networks that show no attention: where a small change of the pixels, or
// of the last feature map, would change a class's score.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "engine/nn/classifier.h"

namespace atlas::engine {

/// |d score / d pixel|, summed over channels and averaged over squares, at most 64 a side
/// (Simonyan et al., arXiv 1312.6034). `score` maps an image [1, 3, H, W] to a scalar.
ScaleMap inputGradient(const at::Tensor& image,
                       const std::function<at::Tensor(const at::Tensor&)>& score);

/// Grad-CAM (Selvaraju et al., arXiv 1610.02391): the channels of `features` weighted by the mean
/// gradient of the score, what is below 0 left out. Both [1, C, h, w], or [1, h, w, C] of networks
/// that keep channels last.
ScaleMap gradCam(const at::Tensor& features, const at::Tensor& gradient);

/// Whether a feature map has places: four dimensions, and more than one place in both of two.
bool hasPlaces(const at::Tensor& features);

}  // namespace atlas::engine
