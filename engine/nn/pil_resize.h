// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace atlas::engine {

enum class PillowFilter { Bilinear, Lanczos };

/// Resampling of 8-bit pixels as Pillow does it, to the bit: antialiased where the image becomes
/// smaller, coefficients and sums in fixed point, rounded after each direction. [height, width,
/// channels] to [toHeight, toWidth, channels].
std::vector<uint8_t> resizeLikePillow(const uint8_t* pixels, int height, int width, int channels,
                                      int toHeight, int toWidth,
                                      PillowFilter filter = PillowFilter::Bilinear);

/// A picture of 8-bit RGB that fits into `side` x `side` pixels with its shape kept, as Pillow's
/// Image.thumbnail() makes it with its Lanczos filter; an image that fits already stays as it is.
/// `height` and `width` become those of the result.
std::vector<uint8_t> thumbnailLikePillow(std::vector<uint8_t> rgb, int& height, int& width,
                                         int side);

}  // namespace atlas::engine
