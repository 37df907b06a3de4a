// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_plan.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <stdexcept>

namespace atlas::engine {
namespace {

constexpr int kMaskPx = 1024;           // longest side of the foreground map
constexpr double kLeastShare = 0.05;    // of a context that must be foreground
constexpr double kLeastContextPx = 16;  // level-0 pixels; below, the image is far too coarse
constexpr int64_t kLeastWholePx = 16;
constexpr int64_t kMaxContexts = 50'000'000;
constexpr int kOverlapCells = 8;
constexpr double kMostSegmentValues = 256e6;  // of all class maps of a segmentation: 1 GiB

std::array<double, 2> resolutionOf(const io::ImageInfo& info, const RunRequest& request) {
    if (request.resolutionUm) return {*request.resolutionUm, *request.resolutionUm};
    if (info.resolution) return {info.resolution->umPerPixelX, info.resolution->umPerPixelY};
    std::string text = info.path + ": the image does not say its resolution";
    for (const auto& warning : info.warnings) text += " (" + warning + ")";
    throw std::runtime_error(text + ". Give it, e.g. --resolution 0.5um or --resolution 0.3m");
}

/// One context: the region at the model's resolution.
RunPlan planWhole(const io::ColorSource& image, const ModelConfig& model, RunPlan plan) {
    const auto pixels = [&](int64_t length, double um) {
        return std::llround(static_cast<double>(length) * um / model.spacingUmPx);
    };
    plan.whole = true;
    plan.wholeWidthPx = pixels(plan.region.width, plan.umPerPixelX);
    plan.wholeHeightPx = pixels(plan.region.height, plan.umPerPixelY);
    if (std::min(plan.wholeWidthPx, plan.wholeHeightPx) < kLeastWholePx)
        throw std::runtime_error(
            image.info().path + ": a pixel is " + lengthText(plan.umPerPixelX, model.ground) +
            " wide, one of the model " + model.name + " " +
            lengthText(model.spacingUmPx, model.ground) + ": at its resolution the region has " +
            std::to_string(plan.wholeWidthPx) + " x " + std::to_string(plan.wholeHeightPx) +
            " pixels, too few for the network");
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

double ForegroundMap::share(const io::ImageInfo& info, double x, double y, double w,
                            double h) const {
    const double sx = width / static_cast<double>(info.levels[0].width),
                 sy = height / static_cast<double>(info.levels[0].height);
    const int x0 = std::clamp(static_cast<int>(x * sx), 0, width - 1),
              y0 = std::clamp(static_cast<int>(y * sy), 0, height - 1);
    const int x1 = std::clamp(static_cast<int>(std::ceil((x + w) * sx)), x0 + 1, width);
    const int y1 = std::clamp(static_cast<int>(std::ceil((y + h) * sy)), y0 + 1, height);
    int64_t count = 0;
    for (int j = y0; j < y1; ++j)
        for (int i = x0; i < x1; ++i) count += inside[static_cast<size_t>(j) * width + i];
    return static_cast<double>(count) / (static_cast<double>(x1 - x0) * (y1 - y0));
}

ForegroundMap findForeground(const io::ColorSource& image) {
    const auto& full = image.info().levels[0];
    const double down =
        std::max(1.0, static_cast<double>(std::max(full.width, full.height)) / kMaskPx);
    ForegroundMap map;
    map.width = std::max(1, static_cast<int>(static_cast<double>(full.width) / down));
    map.height = std::max(1, static_cast<int>(static_cast<double>(full.height) / down));
    io::RgbaImage small = image.resample(0, 0, static_cast<double>(full.width),
                                         static_cast<double>(full.height), map.width, map.height);
    map.inside.resize(static_cast<size_t>(map.width) * map.height);
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] = small.rgba[4 * i + 3] ? 1 : 0;
    if (!image.info().slide) return map;
    const cv::Mat rgba(map.height, map.width, CV_8UC4, small.rgba.data());
    cv::Mat rgb, hsv, channel, threshold;
    cv::cvtColor(rgba, rgb, cv::COLOR_RGBA2RGB);
    cv::cvtColor(rgb, hsv, cv::COLOR_RGB2HSV);
    const bool dark = cv::mean(rgb)[1] < 60;  // fluorescence
    cv::extractChannel(hsv, channel, dark ? 2 : 1);
    cv::medianBlur(channel, channel, 5);
    const double level =
        cv::threshold(channel, threshold, 0, 1, cv::THRESH_BINARY | cv::THRESH_OTSU);
    // A slide that is all tissue has no background for Otsu to find: keep everything then.
    if (!dark && level > 100) return map;
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] &= threshold.data[i];
    return map;
}

RunPlan planRun(const io::ColorSource& image, const ModelConfig& model, const RunRequest& request) {
    const auto& info = image.info();
    const auto um = resolutionOf(info, request);
    if (!(request.overlap >= 0 && request.overlap < 0.9))
        throw std::runtime_error("the overlap must lie between 0 and 0.9");
    RunPlan plan;
    const io::Rect whole{0, 0, info.levels[0].width, info.levels[0].height};
    plan.region = request.region ? io::intersect(*request.region, whole) : whole;
    if (plan.region.empty())
        throw std::runtime_error(info.path + ": the region lies outside of the image");
    plan.umPerPixelX = um[0];
    plan.umPerPixelY = um[1];
    if (request.wholeImage) return planWhole(image, model, plan);
    const double sideUm = static_cast<double>(model.patchSizePx) * model.spacingUmPx;
    plan.contextWidth = sideUm / um[0];
    plan.contextHeight = sideUm / um[1];
    plan.contextPx = model.patchSizePx;
    if (model.architecture == kTorchScript) {
        // As WSInfer: whole level-0 pixels, read there and resized by the model's own steps.
        plan.contextWidth = plan.contextHeight = std::round(plan.contextWidth);
        plan.contextPx = std::llround(plan.contextWidth);
    }
    if (std::min(plan.contextWidth, plan.contextHeight) < kLeastContextPx)
        throw std::runtime_error(info.path + ": a pixel is " + lengthText(um[0], model.ground) +
                                 " wide, but the model " + model.name + " looks at squares of " +
                                 lengthText(sideUm, model.ground) +
                                 ": the image is too coarse for it");
    if (std::max(plan.contextWidth, plan.contextHeight) > 16000)
        throw std::runtime_error(info.path + ": a context of the model would be " +
                                 std::to_string(std::llround(plan.contextWidth)) +
                                 " px wide: the resolution given does not suit the model");
    plan.cellsPerContext = request.overlap > 0 ? kOverlapCells : 1;
    double step = 1 - request.overlap;
    if (model.segmentSide > 0) {
        plan.cellsPerContext = segmentCells(plan, model);
        // Whole cells, so that the maps of neighbours lie on one grid.
        step = std::max(1.0, std::round(step * plan.cellsPerContext)) / plan.cellsPerContext;
    }
    plan.strideX = plan.contextWidth * step;
    plan.strideY = plan.contextHeight * step;
    const auto count = [&](int64_t length, double context, double stride) {
        const double rest = static_cast<double>(length) - context;
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
    std::optional<ForegroundMap> foreground;
    if (request.mask) foreground = findForeground(image);
    for (int64_t row = 0; row < plan.rows; ++row)
        for (int64_t column = 0; column < plan.columns; ++column) {
            const Context context{
                column, row,
                static_cast<double>(plan.region.x) + static_cast<double>(column) * plan.strideX,
                static_cast<double>(plan.region.y) + static_cast<double>(row) * plan.strideY};
            if (foreground && foreground->share(info, context.x, context.y, plan.contextWidth,
                                                plan.contextHeight) < kLeastShare)
                continue;
            plan.contexts.push_back(context);
        }
    if (plan.contexts.empty())
        throw std::runtime_error(info.path + ": no " +
                                 (info.slide ? std::string("tissue") : std::string("data")) +
                                 " was found in the region; --no-mask classifies everything");
    return plan;
}

}  // namespace atlas::engine
