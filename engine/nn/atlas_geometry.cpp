// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_geometry.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace atlas::engine {

int64_t legalSide(int64_t tokens, int64_t window, int64_t ratio) {
    if (window < 2 || ratio < 2 || window % ratio != 0)
        throw std::invalid_argument("window_side must be a multiple of pool_ratio, both above 1");
    if (tokens < 1 || tokens > (int64_t{1} << 24))
        throw std::invalid_argument("the image has no tokens, or too many");
    if (tokens <= window) return std::max<int64_t>(tokens, 2);
    int64_t power = 1;
    while (ratio * window * power < tokens) power *= ratio;
    for (int64_t k = 2; k <= ratio; ++k)
        if (k * window * power >= tokens) return k * window * power;
    return ratio * window * power;
}

std::vector<ScaleGeometry> listScales(int64_t side, int64_t window, int64_t ratio,
                                      int64_t maxScales) {
    const auto limit =
        maxScales > 0 ? static_cast<size_t>(maxScales) : std::numeric_limits<size_t>::max();
    std::vector<ScaleGeometry> scales;
    for (int64_t n = side; scales.size() < limit; n /= ratio) {
        const int64_t w = std::min(n, window);
        scales.push_back({n, w, n / w});
        if (n <= window) break;
    }
    return scales;
}

int64_t parentWindow(int64_t index, int64_t fineRows, int64_t coarseRows, WindowMapping mapping) {
    if (mapping == WindowMapping::Raster)
        return index / (fineRows * fineRows / (coarseRows * coarseRows));
    return index / fineRows * coarseRows / fineRows * coarseRows +
           index % fineRows * coarseRows / fineRows;
}

}  // namespace atlas::engine
