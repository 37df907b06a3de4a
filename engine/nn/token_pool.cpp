// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/token_pool.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "engine/nn/aligned_floats.h"
#include "engine/nn/attention_record.h"

namespace atlas::engine {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

}  // namespace

void TokenPool::run(float* pooled, int64_t from, int64_t to) const {
    const auto& g = fine.geometry;
    const int64_t side = g.window / ratio;  // of the tile in the coarse scale
    at::parallel_for(from, to, 1, [&](int64_t begin, int64_t end) {
        float* sum = threadScratch(stride);
        for (int64_t slot = begin; slot < end; ++slot) {
            const auto& w = fine.windows[static_cast<size_t>(slot)];
            const TokenTile place = coarse.tile(w.image, w.row, w.column, side);
            const uint8_t* valid = fine.validOf(slot);
            float* tile = pooled + (place.slot * coarse.tokens() +
                                    place.row * coarse.geometry.window + place.column) *
                                       stride;
            const int64_t line = coarse.geometry.window * stride;
            for (int64_t y = 0; y < side; ++y) std::fill_n(tile + y * line, side * stride, kLowest);
            for (int64_t y = 0; y < g.window; ++y)
                for (int64_t x = 0; x < g.window; ++x) {
                    const int64_t token = y * g.window + x;
                    if (valid && !valid[token]) continue;
                    float* cell = tile + y / ratio * line + x / ratio * stride;
                    const float* value = tokens + (slot * fine.tokens() + token) * stride;
                    if (position) {
                        kernels.add(value, stride, position + token * stride, stride, sum, stride,
                                    1, stride);
                        value = sum;
                    }
                    kernels.maximum(cell, value, stride);
                }
        }
    });
}

std::vector<AttentionFlow::Edge> TokenPool::edges() const {
    const auto& g = fine.geometry;
    std::vector<AttentionFlow::Edge> edges;
    const auto valueAt = [&](int64_t slot, int64_t token, int64_t channel) {
        const float v = tokens[(slot * fine.tokens() + token) * stride + channel];
        return position ? v + position[token * stride + channel] : v;
    };
    for (int64_t slot = 0; slot < fine.slots(); ++slot) {
        const uint8_t* valid = fine.validOf(slot);
        const auto& w = fine.windows[static_cast<size_t>(slot)];
        for (int64_t cell = 0; cell < g.tokensPerWindow() / (ratio * ratio); ++cell) {
            const int64_t across = g.window / ratio, cy = cell / across, cx = cell % across;
            std::vector<int64_t> children;
            for (int64_t c = 0; c < ratio * ratio; ++c) {
                const int64_t token = (cy * ratio + c / ratio) * g.window + cx * ratio + c % ratio;
                if (!valid || valid[token]) children.push_back(token);
            }
            if (children.empty()) continue;
            std::vector<int64_t> wins(children.size());
            for (int64_t channel = 0; channel < dim; ++channel) {
                size_t best = 0;
                for (size_t c = 1; c < children.size(); ++c)
                    if (valueAt(slot, children[c], channel) >
                        valueAt(slot, children[best], channel))
                        best = c;
                ++wins[best];
            }
            const int64_t parent =
                (w.row * across + cy) * coarse.geometry.side + w.column * across + cx;
            for (size_t c = 0; c < children.size(); ++c)
                if (wins[c] > 0)
                    edges.push_back({placeOf(fine, slot, children[c]), parent,
                                     static_cast<float>(wins[c]) / static_cast<float>(dim)});
        }
    }
    return edges;
}

}  // namespace atlas::engine
