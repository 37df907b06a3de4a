// SPDX-License-Identifier: Apache-2.0
// The tokens of one scale, window by window, and where the valid ones are. Windows without a
// valid token have no place: they cost neither memory nor work (spec 11). No tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/nn/aligned_floats.h"
#include "engine/nn/atlas_geometry.h"

namespace atlas::engine {

struct TokenWindow {
    int64_t image = 0, row = 0, column = 0;
};

/// Tokens of a rectangle inside one window.
struct TokenTile {
    int64_t slot = -1;            ///< -1: the window has no valid token
    int64_t row = 0, column = 0;  ///< of its first token, inside the window
};

struct TokenScale {
    ScaleGeometry geometry;
    std::vector<TokenWindow> windows;  ///< by slot: image, then row by row
    std::vector<int32_t> slotOf;       ///< [images * rows * rows], -1: left out
    std::vector<uint8_t> map;          ///< [images, side, side]: 1 = valid token
    std::vector<uint8_t> valid;        ///< [slots, tokens of a window]
    std::vector<uint8_t> partial;      ///< [slots]: 1 = some tokens of the window are not valid

    int64_t slots() const { return static_cast<int64_t>(windows.size()); }
    int64_t tokens() const { return geometry.tokensPerWindow(); }
    int64_t slot(int64_t image, int64_t row, int64_t column) const {
        return slotOf[static_cast<size_t>((image * geometry.rows + row) * geometry.rows + column)];
    }
    /// null where every token of the window is valid.
    const uint8_t* validOf(int64_t slot) const {
        return partial[static_cast<size_t>(slot)] ? valid.data() + slot * tokens() : nullptr;
    }
    /// Where the square of side `side`, number (row, column) of its grid, lies. `side` divides the
    /// window's.
    TokenTile tile(int64_t image, int64_t row, int64_t column, int64_t side) const {
        const int64_t w = geometry.window, y = row * side, x = column * side;
        return {slot(image, y / w, x / w), y % w, x % w};
    }
    int64_t validTokens(int64_t image) const;
};

/// The scales of `images` token maps of `height` x `width`; `mask`: [images, height, width] or
/// empty. Throws ModelError where an image has no valid token.
std::vector<TokenScale> layOutScales(int64_t images, int64_t height, int64_t width,
                                     const std::vector<uint8_t>& mask, int64_t windowSide,
                                     int64_t ratio, int64_t maxScales);

}  // namespace atlas::engine
