// SPDX-License-Identifier: Apache-2.0
// The two stains of a slide, from its colours.
#pragma once

#include <array>
#include <optional>

#include "io/image_source.h"

namespace atlas::io {

/// Optical densities of length 1: [0] takes more of the red light (hematoxylin), [1] less (eosin).
using StainPair = std::array<std::array<double, 3>, 2>;

/// Macenko et al. 2009: the directions at the 1st and 99th percentile of the angle in the plane of
/// the two largest components of the optical density (natural logarithm); pixels with a density
/// below 0.15 in any channel are left out. Nothing where fewer than 100 pixels are left or the two
/// directions are alike.
std::optional<StainPair> estimateStains(const RgbaImage& picture);

}  // namespace atlas::io
