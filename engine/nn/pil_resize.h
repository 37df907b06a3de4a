// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace atlas::engine {

/// Bilinear resampling of 8-bit pixels as Pillow does it, to the bit: antialiased where the image
/// becomes smaller, coefficients and sums in fixed point, rounded after each direction. [height,
/// width, channels] to [toHeight, toWidth, channels].
std::vector<uint8_t> resizeLikePillow(const uint8_t* pixels, int height, int width, int channels,
                                      int toHeight, int toWidth);

}  // namespace atlas::engine
