// SPDX-License-Identifier: Apache-2.0
// Token grids of Atlas: which scales an image has, how they are cut into windows, and which
// coarse window a fine one looks at. Plain integers, no tensors. Thread-safe.
// Source: arXiv 2503.12355; atlas_forward.md sections 2, 5.3 and 11.
#pragma once

#include <cstdint>
#include <vector>

namespace atlas::engine {

/// How a window finds its parents (spec 5.3 and 11).
enum class WindowMapping {
    Raster,  ///< equal runs of the row-by-row list, as the original's weights expect
    Nested   ///< the true spatial parent
};

/// One token grid: side x side tokens cut into rows x rows windows of window x window tokens.
struct ScaleGeometry {
    int64_t side = 0;
    int64_t window = 0;
    int64_t rows = 0;

    int64_t windows() const { return rows * rows; }
    int64_t tokensPerWindow() const { return window * window; }
};

/// Side, in tokens, of the smallest legal square that holds `tokens` a side (spec 11).
/// Needs window > 1, ratio > 1 and window divisible by ratio; throws std::invalid_argument.
int64_t legalSide(int64_t tokens, int64_t window, int64_t ratio);

/// The scales of a legal square, finest first. `maxScales` > 0 keeps the finest ones only.
std::vector<ScaleGeometry> listScales(int64_t side, int64_t window, int64_t ratio,
                                      int64_t maxScales = 0);

/// Window of the coarse grid that window `index` of the fine grid sees.
int64_t parentWindow(int64_t index, int64_t fineRows, int64_t coarseRows, WindowMapping mapping);

}  // namespace atlas::engine
