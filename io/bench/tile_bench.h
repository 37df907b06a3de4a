// SPDX-License-Identifier: Apache-2.0
// Tiles a second of a slide: DirectTiff against OpenSlide's own reading, in turns in one run.
#pragma once

#include <string>
#include <vector>

namespace atlas::io {

struct TileTiming {
    int threads = 1;
    int64_t tiles = 0;                 ///< decoded by each side
    double direct = 0, openSlide = 0;  ///< tiles a second, medians over rounds
};

/// Every tile of level 0, as the file has them, neither side with anything in its cache. Throws
/// ReadError where DirectTiff cannot read the file.
std::vector<TileTiming> timeTiles(const std::string& path, double seconds);

}  // namespace atlas::io
