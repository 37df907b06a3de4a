// SPDX-License-Identifier: Apache-2.0
// Where the contexts of a run lie. Plain values.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/pipeline/run_request.h"

namespace atlas::engine {

struct Context {
    int64_t column = 0, row = 0;  ///< in the grid of the plan
    double x = 0, y = 0;          ///< top left, level-0 pixels
};

/// Squares of the model's physical size on a grid that starts at the region's top left corner.
struct RunPlan {
    io::Rect region;  ///< level-0 pixels
    double umPerPixelX = 0, umPerPixelY = 0;
    int64_t contextPx = 0;                       ///< pixels a side that the network is given
    double contextWidth = 0, contextHeight = 0;  ///< level-0 pixels
    double strideX = 0, strideY = 0;
    int64_t columns = 0, rows = 0;
    int cellsPerContext = 1;        ///< cells of the result rasters along a context's side
    std::vector<Context> contexts;  ///< those left after the mask, row by row
    bool whole = false;             ///< one context: the region, whatever its shape
    int64_t wholeWidthPx = 0, wholeHeightPx = 0;  ///< its size in model pixels
    int level = 0;                                ///< that pixels are read from
    double levelDownsample = 1;

    /// Cells of the class and probability rasters: contextWidth / cellsPerContext px each.
    int64_t gridColumns() const;
    int64_t gridRows() const;
};

/// Throws std::runtime_error where the image has no resolution, or one that does not suit the
/// model, or where the mask leaves nothing.
RunPlan planRun(const io::ColorSource& image, const ModelConfig& model, const RunRequest& request);

}  // namespace atlas::engine
