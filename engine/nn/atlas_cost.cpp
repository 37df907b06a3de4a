// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_cost.h"

#include <cmath>

namespace atlas::engine {
namespace {

/// Sums up one block over the scales that are left.
void addBlock(AtlasCost& cost, const std::vector<ScaleGeometry>& scales, size_t first, double c,
              double hidden, const AtlasStageConfig& stage, int64_t block) {
    const bool external = stage.attentionOf(block) == BlockAttention::External;
    for (size_t s = first; s < scales.size(); ++s) {
        const auto& g = scales[s];
        const double tokens = static_cast<double>(g.side * g.side);
        if (external) {
            cost.projections += tokens * 4 * c * c;
            cost.attention += 4 * tokens * c * static_cast<double>(stage.memorySlots);
            cost.mlp += 4 * tokens * c * hidden;
            continue;
        }
        double keys = 0;
        for (size_t t = s; t < scales.size(); ++t)
            keys += static_cast<double>(scales[t].tokensPerWindow());
        const double passes = s > first ? 2 : 1;  // top-down, and finer-to-coarser
        // q and proj each pass; kv of x before 5.3, after it for the finer scales, and the final
        // one for the coarser scale (at the finest the last two are the same tokens).
        double kv = 1;
        if (s > first) kv += 1;
        if (s + 1 < scales.size()) kv += 1;
        cost.projections += tokens * 2 * c * (passes * 2 * c + kv * 2 * c);
        cost.attention += 4 * tokens * c * keys;
        if (s > first)
            cost.attention += 4 * tokens * c * static_cast<double>(scales[s - 1].tokensPerWindow());
        cost.mlp += passes * 4 * tokens * c * hidden;
    }
}

}  // namespace

AtlasCost atlasCost(const AtlasConfig& config, int64_t side) {
    AtlasCost cost;
    const auto half = [](double n) { return std::ceil(n / 2); };
    const auto conv = [](double n, double in, double out) { return 18 * n * n * in * out; };
    const auto c = static_cast<double>(config.dim), s = static_cast<double>(config.stemWidth);
    const auto in = static_cast<double>(config.inChannels),
               f = static_cast<double>(config.stemFirstWidth);
    double n = half(static_cast<double>(side));
    cost.stem += conv(n, in, f);
    n = half(n);
    cost.stem += conv(n, f, s) + 6 * conv(n, s, s);
    n = half(n);
    cost.stem += conv(n, s, 2 * s) + 6 * conv(n, 2 * s, 2 * s);
    n = half(n);
    cost.stem += conv(n, 2 * s, c);
    const auto scales =
        listScales(legalSide(static_cast<int64_t>(n), config.windowSide, config.poolRatio),
                   config.windowSide, config.poolRatio, config.maxScales);
    for (size_t k = 0; k < config.stages.size(); ++k)
        for (int64_t d = 0; d < config.stages[k].depth; ++d)
            addBlock(cost, scales, std::min(k, scales.size() - 1), c,
                     std::floor(c * config.stages[k].mlpRatio), config.stages[k], d);
    return cost;
}

}  // namespace atlas::engine
