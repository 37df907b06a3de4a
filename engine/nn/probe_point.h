// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace atlas::engine {

/// One token of one scale, counted from the finest scale of the whole network, and where in the
/// network its attention is asked for.
struct ProbePoint {
    int64_t scale = 0;
    int64_t row = 0;
    int64_t column = 0;
    int64_t stage = -1;  ///< -1: every stage that holds the scale
    int64_t block = -1;  ///< of the stage; -1: its last
    int64_t head = -1;   ///< -1: the mean over heads

    /// Is it asked of block `d` of `depth` blocks of stage `k`?
    bool wants(int64_t k, int64_t d, int64_t depth) const {
        return (stage < 0 || stage == k) && d == (block < 0 ? depth - 1 : block);
    }
};

}  // namespace atlas::engine
