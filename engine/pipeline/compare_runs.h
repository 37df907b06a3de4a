// SPDX-License-Identifier: Apache-2.0
// Two runs over one image, place by place: other models, settings or days.
#pragma once

#include <string>
#include <vector>

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

struct RunComparison {
    /// 0 where both say the same class (by name), 1 where they differ, NaN where one says nothing.
    /// On the finer grid of the two.
    io::GridRaster difference;
    std::vector<std::string> classNames;  ///< of both
    /// [class of the first][class of the second]: cells of `difference`.
    std::vector<std::vector<int64_t>> confusion;
    int64_t compared = 0, same = 0;
    double agreement() const {
        return compared ? static_cast<double>(same) / static_cast<double>(compared) : 0;
    }
};

/// Throws std::runtime_error where the runs have no place in common.
RunComparison compareRuns(const LoadedRun& first, const LoadedRun& second);

}  // namespace atlas::engine
