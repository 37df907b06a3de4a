// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/probe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "engine/pipeline/run_plan.h"

namespace atlas::engine {

ProbeResult probeAt(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& asked, int scale, double x, double y) {
    const auto& model = classifier.config();
    if (asked.wholeImage)
        throw std::runtime_error(
            "the probe looks into contexts of the model's size; a run over the area as one has "
            "attention and contribution layers instead");
    RunRequest request = asked;
    request.mask = false;
    const RunPlan plan = planRun(image, model, request);
    const auto tokens = model.tokenSidesPx();
    if (scale < 0 || static_cast<size_t>(scale) >= tokens.size())
        throw std::runtime_error("the model has no scale " + std::to_string(scale));
    const auto& r = plan.region;
    if (x < static_cast<double>(r.x) || y < static_cast<double>(r.y) ||
        x >= static_cast<double>(r.right()) || y >= static_cast<double>(r.bottom()))
        throw std::runtime_error("the point lies outside of the classified region");
    const auto index = [](double offset, double stride, int64_t count) {
        return std::clamp<int64_t>(static_cast<int64_t>(offset / stride), 0, count - 1);
    };
    ProbeResult result;
    result.contextWidth = plan.contextWidth;
    result.contextHeight = plan.contextHeight;
    result.contextX =
        static_cast<double>(r.x) +
        static_cast<double>(index(x - static_cast<double>(r.x), plan.strideX, plan.columns)) *
            plan.strideX;
    result.contextY =
        static_cast<double>(r.y) +
        static_cast<double>(index(y - static_cast<double>(r.y), plan.strideY, plan.rows)) *
            plan.strideY;
    const int side = static_cast<int>(model.patchSizePx);
    const ContextPixels pixels{image
                                   .resample(result.contextX, result.contextY, plan.contextWidth,
                                             plan.contextHeight, side, side)
                                   .rgba};
    const auto cellOf = [&](int64_t token, double length) {
        return length * static_cast<double>(token) / static_cast<double>(side);
    };
    const double cellWidth = cellOf(tokens[static_cast<size_t>(scale)], plan.contextWidth),
                 cellHeight = cellOf(tokens[static_cast<size_t>(scale)], plan.contextHeight);
    const auto column = static_cast<int64_t>((x - result.contextX) / cellWidth),
               row = static_cast<int64_t>((y - result.contextY) / cellHeight);
    const auto maps = classifier.probe(pixels, scale, row, column);
    double all = 0;
    for (size_t k = 0; k < maps.size(); ++k) {
        io::GridRaster raster;
        if (maps[k].side > 0) {
            raster =
                io::GridRaster(static_cast<int>(maps[k].side), static_cast<int>(maps[k].side), 1);
            raster.values = maps[k].values;
            raster.x = result.contextX;
            raster.y = result.contextY;
            raster.cellWidth = cellOf(tokens[k], plan.contextWidth);
            raster.cellHeight = cellOf(tokens[k], plan.contextHeight);
        }
        result.mass.push_back(std::accumulate(maps[k].values.begin(), maps[k].values.end(), 0.0));
        all += result.mass.back();
        result.scales.push_back(std::move(raster));
    }
    if (!(all > 0)) throw std::runtime_error("there is no data under the point");
    result.token = io::GridRaster(1, 1, 1);
    result.token.values[0] = 1;
    result.token.x = result.contextX + static_cast<double>(column) * cellWidth;
    result.token.y = result.contextY + static_cast<double>(row) * cellHeight;
    result.token.cellWidth = cellWidth;
    result.token.cellHeight = cellHeight;
    return result;
}

}  // namespace atlas::engine
