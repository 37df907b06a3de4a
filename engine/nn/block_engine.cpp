// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/block_engine.h"

#include <algorithm>

namespace atlas::engine {

void placeTokens(const TokenScale& layout, int64_t image, int64_t row, int64_t column,
                 const at::Tensor& tokens, float* windows, int64_t stride) {
    const int64_t w = layout.geometry.window, n = layout.geometry.side, dim = tokens.size(2);
    for (int64_t r = 0; r < tokens.size(0); ++r)
        for (int64_t c = 0; c < tokens.size(1); ++c) {
            const int64_t y = row + r, x = column + c;
            if (!layout.map[static_cast<size_t>((image * n + y) * n + x)]) continue;
            const int64_t slot = layout.slot(image, y / w, x / w);
            float* to = windows + (slot * layout.tokens() + y % w * w + x % w) * stride;
            std::copy_n(
                tokens.const_data_ptr<float>() + r * tokens.stride(0) + c * tokens.stride(1), dim,
                to);
            std::fill(to + dim, to + stride, 0.0f);
        }
}

}  // namespace atlas::engine
