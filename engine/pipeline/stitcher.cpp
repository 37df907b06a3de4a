// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/stitcher.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace atlas::engine {
namespace {

io::GridRaster emptyRaster(const RunPlan& plan, double cellWidth, double cellHeight, int bands) {
    const auto cells = [](int64_t length, double cell) {
        return static_cast<int>(
            std::min<double>(std::ceil(static_cast<double>(length) / cell - 1e-6), 1e9));
    };
    io::GridRaster raster(cells(plan.region.width, cellWidth),
                          cells(plan.region.height, cellHeight), bands);
    raster.x = static_cast<double>(plan.region.x);
    raster.y = static_cast<double>(plan.region.y);
    raster.cellWidth = cellWidth;
    raster.cellHeight = cellHeight;
    std::fill(raster.values.begin(), raster.values.end(), 0.0f);
    return raster;
}

/// 1 at a context's centre, falling to a little above 0 at its border.
float centreWeight(double u, double v) {
    const double du = 1 - std::abs(2 * u - 1), dv = 1 - std::abs(2 * v - 1);
    return static_cast<float>(0.02 + std::max(0.0, du) * std::max(0.0, dv));
}

}  // namespace

Stitcher::Accumulator::Accumulator(io::GridRaster raster)
    : sum(std::move(raster)), weight(static_cast<size_t>(sum.width) * sum.height) {}

void Stitcher::Accumulator::add(int column, int row, float w, const float* values, int64_t stride) {
    weight[static_cast<size_t>(row) * sum.width + column] += w;
    for (int b = 0; b < sum.bands; ++b) sum.at(b, column, row) += w * values[b * stride];
}

io::GridRaster Stitcher::Accumulator::mean() const {
    io::GridRaster result = sum;
    const size_t count = weight.size();
    for (int b = 0; b < sum.bands; ++b)
        for (size_t i = 0; i < count; ++i) {
            float& value = result.values[static_cast<size_t>(b) * count + i];
            value = weight[i] > 0 ? value / weight[i] : std::numeric_limits<float>::quiet_NaN();
        }
    return result;
}

Stitcher::Stitcher(const RunPlan& plan, const ModelConfig& model, bool attention)
    : plan_(plan), attention_(attention) {
    auto raster = emptyRaster(plan, plan.contextWidth / plan.cellsPerContext,
                              plan.contextHeight / plan.cellsPerContext,
                              static_cast<int>(model.classNames.size()));
    raster.bandNames = model.classNames;
    probabilities_ = std::make_unique<Accumulator>(std::move(raster));
    if (!attention) return;
    const auto tokens = model.tokenSidesPx();
    const auto patch = static_cast<double>(model.patchSizePx);
    for (size_t k = 0; k < tokens.size(); ++k) {
        const int64_t token = tokens[k];
        auto map = emptyRaster(plan, plan.contextWidth * static_cast<double>(token) / patch,
                               plan.contextHeight * static_cast<double>(token) / patch, 1);
        map.bandNames = {"attention received, multiples of an even share"};
        if (k < model.mapNames.size() && !model.mapNames[k].empty())
            map.bandNames[0] += ", " + model.mapNames[k];
        received_.emplace_back(std::move(map));
    }
    const size_t shares = model.isAtlas() ? tokens.size() : model.massNames.size();
    if (shares == 0) return;
    auto mass = emptyRaster(plan, plan.contextWidth * static_cast<double>(tokens[0]) / patch,
                            plan.contextHeight * static_cast<double>(tokens[0]) / patch,
                            static_cast<int>(shares));
    for (size_t k = 0; k < shares; ++k)
        mass.bandNames.push_back("share of attention on " + (model.isAtlas()
                                                                 ? "scale " + std::to_string(k)
                                                                 : model.massNames[k]));
    mass_ = std::make_unique<Accumulator>(std::move(mass));
}

void Stitcher::addMaps(Accumulator& into, const Context& context,
                       const std::vector<const ScaleMap*>& bands) {
    const int64_t side = bands[0]->side;
    const auto firstColumn =
        static_cast<int64_t>(std::llround((context.x - into.sum.x) / into.sum.cellWidth));
    const auto firstRow =
        static_cast<int64_t>(std::llround((context.y - into.sum.y) / into.sum.cellHeight));
    std::vector<float> values(bands.size());
    for (int64_t j = 0; j < side; ++j)
        for (int64_t i = 0; i < side; ++i) {
            const int64_t column = firstColumn + i, row = firstRow + j;
            if (column < 0 || row < 0 || column >= into.sum.width || row >= into.sum.height)
                continue;
            float any = 0;
            for (size_t b = 0; b < bands.size(); ++b) {
                values[b] = bands[b]->values[static_cast<size_t>(j * side + i)];
                any += values[b];
            }
            if (any <= 0) continue;  // no valid token there
            const float w =
                centreWeight((static_cast<double>(i) + 0.5) / static_cast<double>(side),
                             (static_cast<double>(j) + 0.5) / static_cast<double>(side));
            into.add(static_cast<int>(column), static_cast<int>(row), w, values.data(), 1);
        }
}

/// Class maps of one context, averaged down to the cells of the plan.
void Stitcher::addSegments(const Context& context, const std::vector<ScaleMap>& classes) {
    const int64_t cells = plan_.cellsPerContext, ratio = classes[0].side / cells;
    std::vector<ScaleMap> smaller(ratio > 1 ? classes.size() : 0);
    std::vector<const ScaleMap*> bands;
    for (size_t c = 0; c < classes.size(); ++c) {
        if (ratio > 1) {
            smaller[c].side = cells;
            smaller[c].values.assign(static_cast<size_t>(cells * cells), 0.0f);
            for (int64_t y = 0; y < cells * ratio; ++y)
                for (int64_t x = 0; x < cells * ratio; ++x)
                    smaller[c].values[static_cast<size_t>(y / ratio * cells + x / ratio)] +=
                        classes[c].values[static_cast<size_t>(y * classes[c].side + x)];
        }
        bands.push_back(ratio > 1 ? &smaller[c] : &classes[c]);
    }
    // Places without data count for nothing: what is left of a cell is a probability again.
    for (size_t i = 0; ratio > 1 && i < smaller[0].values.size(); ++i) {
        float sum = 0;
        for (const auto& map : smaller) sum += map.values[i];
        for (auto& map : smaller)
            if (sum > 0) map.values[i] /= sum;
    }
    addMaps(*probabilities_, context, bands);
}

void Stitcher::add(const Context& context, const ContextResult& result) {
    if (result.probabilities.empty()) return;
    const std::lock_guard lock(mutex_);
    if (!result.segments.empty()) return addSegments(context, result.segments);
    auto& grid = probabilities_->sum;
    const int cells = plan_.cellsPerContext;
    const auto firstColumn =
        static_cast<int64_t>(std::llround((context.x - grid.x) / grid.cellWidth));
    const auto firstRow =
        static_cast<int64_t>(std::llround((context.y - grid.y) / grid.cellHeight));
    for (int j = 0; j < cells; ++j)
        for (int i = 0; i < cells; ++i) {
            const int64_t column = firstColumn + i, row = firstRow + j;
            if (column < 0 || row < 0 || column >= grid.width || row >= grid.height) continue;
            probabilities_->add(static_cast<int>(column), static_cast<int>(row),
                                centreWeight((i + 0.5) / cells, (j + 0.5) / cells),
                                result.probabilities.data(), 1);
        }
    if (!attention_ || result.received.empty()) return;
    for (size_t k = 0; k < received_.size(); ++k)
        addMaps(received_[k], context, {&result.received[k]});
    if (!mass_) return;
    std::vector<const ScaleMap*> mass;
    for (const auto& map : result.mass) mass.push_back(&map);
    addMaps(*mass_, context, mass);
}

RunLayers Stitcher::layers() const {
    const std::lock_guard lock(mutex_);
    RunLayers layers;
    layers.probabilities = probabilities_->mean();
    auto& p = layers.probabilities;
    layers.classes = io::GridRaster(p.width, p.height, 1);
    layers.classes.x = p.x;
    layers.classes.y = p.y;
    layers.classes.cellWidth = p.cellWidth;
    layers.classes.cellHeight = p.cellHeight;
    layers.classes.bandNames = {"class"};
    for (int row = 0; row < p.height; ++row)
        for (int column = 0; column < p.width; ++column) {
            if (std::isnan(p.at(0, column, row))) continue;
            int best = 0;
            for (int b = 1; b < p.bands; ++b)
                if (p.at(b, column, row) > p.at(best, column, row)) best = b;
            layers.classes.at(0, column, row) = static_cast<float>(best);
        }
    for (const auto& map : received_) layers.attention.push_back(map.mean());
    if (mass_) layers.mass = mass_->mean();
    return layers;
}

}  // namespace atlas::engine
