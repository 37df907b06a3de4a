// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/class_areas.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace atlas::engine {
namespace {

/// Length of each cell along one axis that lies between `low` and `high`, level-0 pixels.
std::vector<double> lengthsInside(int cells, double origin, double size, double low, double high) {
    std::vector<double> lengths(static_cast<size_t>(cells));
    for (int i = 0; i < cells; ++i)
        lengths[static_cast<size_t>(i)] = std::max(
            0.0, std::min(origin + (i + 1) * size, high) - std::max(origin + i * size, low));
    return lengths;
}

}  // namespace

std::vector<double> classAreas(const io::GridRaster& classes, const io::Rect& region,
                               size_t count) {
    std::vector<double> areas(count, 0.0);
    const auto widths =
        lengthsInside(classes.width, classes.x, classes.cellWidth, static_cast<double>(region.x),
                      static_cast<double>(region.right()));
    const auto heights =
        lengthsInside(classes.height, classes.y, classes.cellHeight, static_cast<double>(region.y),
                      static_cast<double>(region.bottom()));
    for (int row = 0; row < classes.height; ++row)
        for (int column = 0; column < classes.width; ++column) {
            const float value = classes.at(0, column, row);
            if (!(value >= 0) || value >= static_cast<float>(count)) continue;
            areas[static_cast<size_t>(value)] +=
                widths[static_cast<size_t>(column)] * heights[static_cast<size_t>(row)];
        }
    return areas;
}

std::vector<double> areaFractions(const std::vector<double>& areas) {
    const double all = std::accumulate(areas.begin(), areas.end(), 0.0);
    std::vector<double> fractions(areas.size(), 0.0);
    for (size_t i = 0; all > 0 && i < areas.size(); ++i) fractions[i] = areas[i] / all;
    return fractions;
}

int largestArea(const std::vector<double>& areas) {
    const auto largest = std::max_element(areas.begin(), areas.end());
    return largest == areas.end() || !(*largest > 0) ? -1
                                                     : static_cast<int>(largest - areas.begin());
}

}  // namespace atlas::engine
