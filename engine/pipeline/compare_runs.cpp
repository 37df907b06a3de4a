// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/compare_runs.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace atlas::engine {

RunComparison compareRuns(const LoadedRun& first, const LoadedRun& second) {
    RunComparison result;
    result.classNames = first.classNames;
    std::vector<size_t> secondClass;  // numbers of the second run's classes in classNames
    for (const auto& name : second.classNames) {
        const auto found = std::find(result.classNames.begin(), result.classNames.end(), name);
        secondClass.push_back(static_cast<size_t>(found - result.classNames.begin()));
        if (found == result.classNames.end()) result.classNames.push_back(name);
    }
    const auto &a = first.layers.classes, &b = second.layers.classes;
    const io::GridRaster& finer = a.cellWidth <= b.cellWidth ? a : b;
    result.difference = io::GridRaster(finer.width, finer.height, 1);
    result.difference.x = finer.x;
    result.difference.y = finer.y;
    result.difference.cellWidth = finer.cellWidth;
    result.difference.cellHeight = finer.cellHeight;
    result.confusion.assign(result.classNames.size(),
                            std::vector<int64_t>(result.classNames.size()));
    for (int row = 0; row < finer.height; ++row)
        for (int column = 0; column < finer.width; ++column) {
            const double x = finer.x + (column + 0.5) * finer.cellWidth,
                         y = finer.y + (row + 0.5) * finer.cellHeight;
            float& cell = result.difference.at(0, column, row);
            cell = NAN;
            int ax = 0, ay = 0, bx = 0, by = 0;
            if (!a.cellAt(x, y, ax, ay) || !b.cellAt(x, y, bx, by)) continue;
            const float va = a.at(0, ax, ay), vb = b.at(0, bx, by);
            if (std::isnan(va) || std::isnan(vb)) continue;
            const auto ca = static_cast<size_t>(va);
            if (ca >= first.classNames.size() || static_cast<size_t>(vb) >= secondClass.size())
                continue;
            const size_t cb = secondClass[static_cast<size_t>(vb)];
            ++result.confusion[ca][cb];
            ++result.compared;
            result.same += ca == cb;
            cell = ca == cb ? 0.0f : 1.0f;
        }
    if (result.compared == 0)
        throw std::runtime_error("the two runs have no classified place in common");
    return result;
}

}  // namespace atlas::engine
