// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/token_scale.h"

#include <algorithm>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

void listWindows(TokenScale& scale, int64_t images) {
    const auto& g = scale.geometry;
    scale.slotOf.assign(static_cast<size_t>(images * g.windows()), -1);
    std::vector<uint8_t> tokens(static_cast<size_t>(g.tokensPerWindow()));
    for (int64_t b = 0; b < images; ++b)
        for (int64_t row = 0; row < g.rows; ++row)
            for (int64_t column = 0; column < g.rows; ++column) {
                size_t count = 0;
                for (int64_t y = 0; y < g.window; ++y)
                    for (int64_t x = 0; x < g.window; ++x) {
                        const uint8_t v = scale.map[static_cast<size_t>(
                            (b * g.side + row * g.window + y) * g.side + column * g.window + x)];
                        tokens[static_cast<size_t>(y * g.window + x)] = v;
                        count += v;
                    }
                if (count == 0) continue;
                scale.slotOf[static_cast<size_t>((b * g.rows + row) * g.rows + column)] =
                    static_cast<int32_t>(scale.windows.size());
                scale.windows.push_back({b, row, column});
                scale.valid.insert(scale.valid.end(), tokens.begin(), tokens.end());
                scale.partial.push_back(count < tokens.size());
            }
}

}  // namespace

int64_t TokenScale::validTokens(int64_t image) const {
    const int64_t all = geometry.side * geometry.side;
    return std::count(map.begin() + image * all, map.begin() + (image + 1) * all, 1);
}

std::vector<TokenScale> layOutScales(int64_t images, int64_t height, int64_t width,
                                     const std::vector<uint8_t>& mask, int64_t windowSide,
                                     int64_t ratio, int64_t maxScales) {
    const int64_t side = legalSide(std::max(height, width), windowSide, ratio);
    std::vector<TokenScale> scales;
    for (const auto& geometry : listScales(side, windowSide, ratio, maxScales)) {
        TokenScale scale;
        scale.geometry = geometry;
        const int64_t n = geometry.side;
        scale.map.assign(static_cast<size_t>(images * n * n), 0);
        if (scales.empty()) {
            for (int64_t b = 0; b < images; ++b)
                for (int64_t y = 0; y < height; ++y)
                    for (int64_t x = 0; x < width; ++x)
                        scale.map[static_cast<size_t>((b * n + y) * n + x)] =
                            mask.empty() ||
                            mask[static_cast<size_t>((b * height + y) * width + x)] != 0;
            for (int64_t b = 0; b < images; ++b)
                if (scale.validTokens(b) == 0)
                    throw ModelError("an image of the batch has no valid token");
        } else {
            const auto& finer = scales.back();
            const int64_t m = finer.geometry.side;
            for (int64_t b = 0; b < images; ++b)
                for (int64_t y = 0; y < m; ++y)
                    for (int64_t x = 0; x < m; ++x)
                        if (finer.map[static_cast<size_t>((b * m + y) * m + x)])
                            scale.map[static_cast<size_t>((b * n + y / ratio) * n + x / ratio)] = 1;
        }
        listWindows(scale, images);
        scales.push_back(std::move(scale));
    }
    return scales;
}

}  // namespace atlas::engine
