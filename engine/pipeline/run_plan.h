// SPDX-License-Identifier: Apache-2.0
// Where the contexts of a run lie. Plain values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/pipeline/run_request.h"

namespace atlas::engine {

struct Context {
    int64_t column = 0, row = 0;  ///< in the grid of the plan
    double x = 0, y = 0;          ///< top left of what is read, level-0 pixels
};

/// A rectangle of level-0 pixels with fractions.
struct PlaneBox {
    double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
    double width() const { return x1 - x0; }
    double height() const { return y1 - y0; }
};

/// Squares of the model's physical size on a grid that starts at the region's top left corner.
/// Contexts of our own networks that would reach over the image's right or lower edge are moved
/// inward as a whole, so that the network always sees a full square; they still answer for their
/// place in the grid alone. Exported models keep the grid, as WSInfer lays it.
struct RunPlan {
    io::Rect region;  ///< level-0 pixels
    double umPerPixelX = 0, umPerPixelY = 0;
    int64_t contextPx = 0;                       ///< pixels a side that the network is given
    double contextWidth = 0, contextHeight = 0;  ///< level-0 pixels
    double strideX = 0, strideY = 0;
    int64_t columns = 0, rows = 0;
    int cellsPerContext = 1;        ///< cells of the result rasters along a context's side
    std::vector<Context> contexts;  ///< those left after the mask, row by row
    std::string mask = "none";      ///< what decided on them, as ForegroundMap::rule
    bool whole = false;             ///< one context: the region, whatever its shape
    int64_t wholeWidthPx = 0, wholeHeightPx = 0;  ///< its size in model pixels
    int level = 0;                                ///< that pixels are read from
    double levelDownsample = 1;

    /// Cells of the class and probability rasters: contextWidth / cellsPerContext px each.
    int64_t gridColumns() const;
    int64_t gridRows() const;

    /// Whether neighbours answer for the same places.
    bool isBlended() const { return strideX < contextWidth || strideY < contextHeight; }

    /// The part of the region that a context answers for: its place in the grid where contexts do
    /// not overlap, else all that it sees.
    PlaneBox answeredBy(const Context& context) const;

    /// The context of the grid at a level-0 point of the region, with the position that it is read
    /// from; of several that overlap there, the last that begins before the point.
    Context contextOver(double x, double y) const;

    /// The context of a column and row of the grid; `contexts` is not asked.
    Context contextAt(int64_t column, int64_t row) const;
    int64_t imageWidth = 0, imageHeight = 0;  ///< level-0 pixels
    bool movesInward = false;                 ///< contexts at the image's edge, see above
};

/// Throws std::runtime_error where the image has no resolution, or one that does not suit the
/// model, or where the mask leaves nothing.
RunPlan planRun(const io::ColorSource& image, const ModelConfig& model, const RunRequest& request);

}  // namespace atlas::engine
