// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace atlas::engine {

/// How many images at once stay within an amount of memory.
struct LargestBatch {
    int64_t images = 0;                     ///< 0: not even one
    int64_t bytes = 0;                      ///< of the whole process at its most, with so many
    int64_t tooMany = 0, tooManyBytes = 0;  ///< the next larger batch, as foreseen; 0: `most` fits
};

/// Tries `work` on 1, 2, 4, ... and at last `most` images, and goes on only where what was seen so
/// far says that the next batch stays within `bytes` of resident memory, everything counted. Where
/// the system does not tell a process's memory, `most` is taken for granted.
LargestBatch largestBatch(int64_t bytes, int64_t most,
                          const std::function<void(int64_t images)>& work);

}  // namespace atlas::engine
