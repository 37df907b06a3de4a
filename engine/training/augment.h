// SPDX-License-Identifier: Apache-2.0
// Random views of a training image. Plain pixels in, normalised planes out.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "io/image_source.h"

namespace atlas::engine {

struct AugmentOptions {
    bool flips = true;
    bool quarterTurns = true;
    double cropAreaMin = 0.35, cropAreaMax = 1.0;  ///< share of the area; 1, 1: the whole image
    double cropAspect = 4.0 / 3.0;                 ///< largest ratio of sides
    double brightnessMin = 0.7, brightnessMax = 1.3;
    double contrastMin = 0.7, contrastMax = 1.3;
    double saturationMin = 1.0, saturationMax = 1.0;
    double erase = 0;  ///< probability that a box of 2-20 % of the area becomes grey
};

/// Resizes to side x side (area averaging when shrinking) without any change.
io::RasterBlock resizeTo(const io::RasterBlock& image, int side);

/// A random view of `image`, side x side.
io::RasterBlock augment(const io::RasterBlock& image, int side, const AugmentOptions& options,
                        std::mt19937_64& random);

/// [3, side, side] planes of (value / 255 - mean) / std, written to `out`.
void normalise(const io::RasterBlock& image, const std::vector<float>& mean,
               const std::vector<float>& std, float* out);

}  // namespace atlas::engine
