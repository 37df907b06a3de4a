// SPDX-License-Identifier: Apache-2.0
// Which parts of an image are worth classifying.
#pragma once

#include <cstdint>
#include <vector>

#include "io/color_source.h"

namespace atlas::engine {

/// Share of 0 to 1 of each cell of a coarse map that is tissue (slides: Otsu's threshold of the
/// saturation, or of the brightness on a dark ground) or data (rasters).
struct ForegroundMap {
    int width = 0, height = 0;
    std::vector<uint8_t> inside;  ///< 0 or 1, over the whole image
    /// Share of a level-0 rectangle that is inside.
    double share(const io::ImageInfo& info, double x, double y, double w, double h) const;
};
ForegroundMap findForeground(const io::ColorSource& image);

}  // namespace atlas::engine
