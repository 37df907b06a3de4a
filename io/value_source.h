// SPDX-License-Identifier: Apache-2.0
// The numbers of a file's bands at any resolution, for networks that ask for more than 8-bit
// colour.
#pragma once

#include <vector>

#include "io/image_source.h"

namespace atlas::io {

struct ValueBlock {
    int width = 0, height = 0, bands = 0;
    std::vector<float> values;   ///< [height, width, bands]; 0 where there is no data
    std::vector<uint8_t> valid;  ///< [height, width]: 1 where any band has data
};

/// A level-0 rectangle (may be fractional and reach outside) as width x height pixels: from the
/// nearest finer level of the file the mean over each pixel's area, or linear interpolation where
/// the image is enlarged. Numbers that are missing take no part. `physical`: with scale and offset
/// of each band. Throws ReadError.
ValueBlock resampleValues(const ImageSource& source, const std::vector<int>& bands, double x,
                          double y, double w, double h, int width, int height, bool physical);

}  // namespace atlas::io
