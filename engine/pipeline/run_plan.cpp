// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_plan.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "engine/pipeline/foreground.h"
#include "engine/pipeline/suitability.h"

namespace atlas::engine {
namespace {

constexpr int64_t kMaxContexts = 50'000'000;
constexpr int kOverlapCells = 8;
constexpr double kMostSegmentValues = 256e6;  // of all class maps of a segmentation: 1 GiB

/// One context: the region at the model's resolution.
RunPlan planWhole(const io::ColorSource& image, const ModelConfig& model, RunPlan plan) {
    const auto pixels = [&](int64_t length, double um) {
        return std::llround(static_cast<double>(length) * um / model.spacingUmPx);
    };
    plan.whole = true;
    plan.wholeWidthPx = pixels(plan.region.width, plan.umPerPixelX);
    plan.wholeHeightPx = pixels(plan.region.height, plan.umPerPixelY);
    plan.contextWidth = plan.strideX = static_cast<double>(plan.region.width);
    plan.contextHeight = plan.strideY = static_cast<double>(plan.region.height);
    plan.columns = plan.rows = 1;
    plan.contexts = {
        {0, 0, static_cast<double>(plan.region.x), static_cast<double>(plan.region.y)}};
    plan.level = image.levelFor(static_cast<double>(plan.region.width) /
                                static_cast<double>(plan.wholeWidthPx));
    plan.levelDownsample = image.levels()[static_cast<size_t>(plan.level)].downsample;
    return plan;
}

/// Cells along a context: as many as the network answers, or a 2nd, 4th ... of it where the whole
/// map would be too large to hold.
int segmentCells(const RunPlan& plan, const ModelConfig& model) {
    const double contexts =
        std::max(1.0, static_cast<double>(plan.region.width) / plan.contextWidth) *
        std::max(1.0, static_cast<double>(plan.region.height) / plan.contextHeight);
    auto cells = static_cast<int>(model.segmentSide);
    while (contexts * cells * cells * static_cast<double>(model.classNames.size()) >
               kMostSegmentValues &&
           cells % 2 == 0)
        cells /= 2;
    return cells;
}

}  // namespace

int64_t RunPlan::gridColumns() const {
    return static_cast<int64_t>(
        std::ceil(static_cast<double>(region.width) / (contextWidth / cellsPerContext) - 1e-6));
}
int64_t RunPlan::gridRows() const {
    return static_cast<int64_t>(
        std::ceil(static_cast<double>(region.height) / (contextHeight / cellsPerContext) - 1e-6));
}

PlaneBox RunPlan::answeredBy(const Context& context) const {
    const auto left = static_cast<double>(region.x), top = static_cast<double>(region.y);
    PlaneBox box{context.x, context.y, context.x + contextWidth, context.y + contextHeight};
    if (!whole && !isBlended()) {
        box.x0 = left + static_cast<double>(context.column) * strideX;
        box.y0 = top + static_cast<double>(context.row) * strideY;
        box.x1 = box.x0 + contextWidth;
        box.y1 = box.y0 + contextHeight;
    }
    return {std::max(box.x0, left), std::max(box.y0, top),
            std::min(box.x1, static_cast<double>(region.right())),
            std::min(box.y1, static_cast<double>(region.bottom()))};
}

Context RunPlan::contextAt(int64_t column, int64_t row) const {
    Context context{column, row,
                    static_cast<double>(region.x) + static_cast<double>(column) * strideX,
                    static_cast<double>(region.y) + static_cast<double>(row) * strideY};
    if (!movesInward) return context;
    const auto inward = [](double at, double length, int64_t size) {
        const double last = static_cast<double>(size) - length;
        return last >= 0 ? std::min(at, last) : at;
    };
    context.x = inward(context.x, contextWidth, imageWidth);
    context.y = inward(context.y, contextHeight, imageHeight);
    return context;
}

Context RunPlan::contextOver(double x, double y) const {
    const auto index = [](double offset, double stride, int64_t count) {
        return std::clamp<int64_t>(static_cast<int64_t>(offset / stride), 0, count - 1);
    };
    return contextAt(index(x - static_cast<double>(region.x), strideX, columns),
                     index(y - static_cast<double>(region.y), strideY, rows));
}

RunPlan planRun(const io::ColorSource& image, const ModelConfig& model, const RunRequest& request) {
    const auto& info = image.info();
    requireSuitable(info, model, request);
    const ImageFacts facts = factsOf(info, request);
    if (!(request.overlap >= 0 && request.overlap < 0.9))
        throw std::runtime_error("the overlap must lie between 0 and 0.9");
    RunPlan plan;
    plan.region = facts.region;
    plan.umPerPixelX = facts.umX();
    plan.umPerPixelY = facts.umY();
    plan.imageWidth = facts.width;
    plan.imageHeight = facts.height;
    plan.movesInward = model.architecture != kTorchScript && model.architecture != kOnnx;
    if (request.wholeImage) return planWhole(image, model, plan);
    const double sideUm = static_cast<double>(model.patchSizePx) * model.spacingUmPx;
    plan.contextWidth = sideUm / plan.umPerPixelX;
    plan.contextHeight = sideUm / plan.umPerPixelY;
    plan.contextPx = model.patchSizePx;
    if (model.architecture == kTorchScript) {
        // As WSInfer: squares of whole level-0 pixels by the mean of both resolutions, read there
        // and resized by the model's own steps. Halves go to the even number.
        plan.contextWidth = plan.contextHeight =
            std::nearbyint(2 * sideUm / (plan.umPerPixelX + plan.umPerPixelY));
        plan.contextPx = std::llround(plan.contextWidth);
    }
    plan.cellsPerContext = request.overlap > 0 ? kOverlapCells : 1;
    double step = 1 - request.overlap;
    if (model.segmentSide > 0) {
        plan.cellsPerContext = segmentCells(plan, model);
        // Whole cells, so that the maps of neighbours lie on one grid.
        step = std::max(1.0, std::round(step * plan.cellsPerContext)) / plan.cellsPerContext;
    }
    plan.strideX = plan.contextWidth * step;
    plan.strideY = plan.contextHeight * step;
    if (model.architecture == kTorchScript)
        plan.strideX = plan.strideY = std::max(1.0, std::nearbyint(plan.strideX));
    const auto count = [&](int64_t length, double context, double stride) {
        // By WSInfer's rule every patch whose centre lies in the image is asked about.
        double rest = static_cast<double>(length) - context;
        if (request.tissueRule == TissueRule::Wsinfer)
            rest = static_cast<double>(length) - std::nearbyint(context / 2) - stride;
        return rest <= 0 ? int64_t{1} : 1 + static_cast<int64_t>(std::ceil(rest / stride - 1e-6));
    };
    plan.columns = count(plan.region.width, plan.contextWidth, plan.strideX);
    plan.rows = count(plan.region.height, plan.contextHeight, plan.strideY);
    if (plan.columns > kMaxContexts / plan.rows)
        throw std::runtime_error(info.path + ": " + std::to_string(plan.columns) + " x " +
                                 std::to_string(plan.rows) +
                                 " contexts are too many; choose a region");
    const double down = plan.contextWidth / static_cast<double>(model.patchSizePx);
    plan.level = image.levelFor(down);
    plan.levelDownsample = image.levels()[static_cast<size_t>(plan.level)].downsample;
    std::unique_ptr<ContextFilter> filter;
    if (request.mask) filter = std::make_unique<ContextFilter>(image, request);
    plan.mask = filter ? filter->rule() : "none";
    for (int64_t row = 0; row < plan.rows; ++row)
        for (int64_t column = 0; column < plan.columns; ++column) {
            const Context context = plan.contextAt(column, row);
            const PlaneBox box = plan.answeredBy(context);
            if (filter &&
                !filter->takes({context.x, context.y, plan.contextWidth, plan.contextHeight},
                               {box.x0, box.y0, box.width(), box.height()}))
                continue;
            plan.contexts.push_back(context);
        }
    if (plan.contexts.empty())
        throw std::runtime_error(info.path + ": no " +
                                 (filter->isTissue() ? std::string("tissue") : "data") +
                                 " was found in the region; --no-mask classifies everything");
    return plan;
}

}  // namespace atlas::engine
