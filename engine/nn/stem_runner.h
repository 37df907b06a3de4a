// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "engine/nn/tensor.h"

namespace atlas::engine {

inline constexpr int64_t kStemTokenPx = 16;  ///< pixels a token
/// A token needs the pixels of so many tokens before it and after it, in both directions (spec 10).
inline constexpr int64_t kStemHaloBefore = 6, kStemHaloAfter = 5;

/// An image as the stem sees it. Callbacks may throw; the run ends with that exception.
struct StemImage {
    int64_t height = 0, width = 0;  ///< pixels
    /// Writes normalised pixels [rows][columns][inChannels] of the rectangle to `out`, whose rows
    /// are `outRow` floats apart.
    std::function<void(int64_t row, int64_t rows, int64_t column, int64_t columns, float* out,
                       int64_t outRow)>
        pixels;
    /// Receives tokens [rows, columns, dim], float32, of the rectangle that begins there; they are
    /// valid during the call. The rectangle that reaches the right border comes last of its rows.
    std::function<void(int64_t row, int64_t column, const at::Tensor& tokens)> tokens;
    /// uint8 [ceil(height/16), ceil(width/16)], 0 = not wanted (its value is then undefined); may
    /// be null. Saves the work that only unwanted tokens need.
    const uint8_t* wanted = nullptr;
    int64_t firstTokenRow = 0;  ///< where to go on; rows above are not delivered
};

struct StemOptions {
    bool bf16 = false;                       ///< convolutions in bfloat16
    int64_t bandBytes = int64_t{512} << 20;  ///< of rows of pixels and maps in the host's memory
    int64_t bandRows = 0;                    ///< pixels a step; 0: chosen
    int64_t tileBytes = 0;  ///< of a device's memory, for the maps of a tile; 0: chosen
};

/// The stem of Atlas (spec 3) over images of any size in bounded memory; each pixel is asked for
/// once, or twice where panels of a very wide image meet.
class StemRunner {
  public:
    virtual ~StemRunner() = default;
    /// Thread-safe.
    virtual void run(const StemImage& image, const StemOptions& options) const = 0;
    virtual double flopsPerPixel() const = 0;  ///< as computed here
    virtual int64_t weightBytes() const = 0;   ///< in the host's memory
};

}  // namespace atlas::engine
