// SPDX-License-Identifier: Apache-2.0
// The stem on the processor, row by row: pixels stream in at the top, tokens come out at the
// bottom, and every layer keeps only the rows that its neighbours still need. Nothing is computed
// twice, each pixel is asked for once, and memory grows with the width of the image alone.
// Equal to AtlasStem to rounding (spec 3 and 10). Stride-1 layers use Winograd F(4x4, 3x3).
#pragma once

#include <functional>
#include <memory>

#include "engine/nn/atlas_stem.h"

namespace atlas::engine {

struct CpuKernels;

/// An image as the stem sees it. Callbacks may throw; the run ends with that exception.
struct StemImage {
    int64_t height = 0, width = 0;  ///< pixels
    /// Writes normalised pixels [rows][columns][inChannels] of the rectangle to `out`, whose rows
    /// are `outRow` floats apart.
    std::function<void(int64_t row, int64_t rows, int64_t column, int64_t columns, float* out,
                       int64_t outRow)>
        pixels;
    /// Receives tokens [rows][columns][stride] (the first `dim` of each are the token).
    std::function<void(int64_t row, int64_t rows, int64_t column, int64_t columns,
                       const float* tokens, int64_t stride)>
        tokens;
    /// uint8 [ceil(height/16), ceil(width/16)], 0 = not wanted (its value is then undefined); may
    /// be null. Saves the work that only unwanted tokens need.
    const uint8_t* wanted = nullptr;
    int64_t firstTokenRow = 0;  ///< where to go on; rows above are not delivered
};

/// Rows of image `index` of planes [B, C, H, W] (float32, dense) as pixels [rows][columns][C], as
/// StemImage::pixels wants them.
void pixelsOfPlanes(const at::Tensor& planes, int64_t index, int64_t row, int64_t rows,
                    int64_t column, int64_t columns, float* out, int64_t outRow);

struct StemOptions {
    bool bf16 = false;                       ///< convolutions by oneDNN in bfloat16
    int64_t bandBytes = int64_t{512} << 20;  ///< of line buffers, about; wider images are cut
    int64_t bandRows = 0;                    ///< pixels a step; 0: chosen
};

class CpuStem {
  public:
    /// `stem` must be folded, float32 and on the processor. `kernels`: for tests; default: the
    /// best.
    CpuStem(const AtlasStem& stem, const AtlasConfig& config, const CpuKernels* kernels = nullptr);
    ~CpuStem();
    CpuStem(CpuStem&&) noexcept;

    /// Thread-safe.
    void run(const StemImage& image, const StemOptions& options) const;

    /// [B, inChannels, H, W] float32 -> [B, ceil(H/16), ceil(W/16), dim].
    at::Tensor forward(const at::Tensor& image, const StemOptions& options = {}) const;

    double flopsPerPixel() const;  ///< as computed here, Winograd counted with what it does
    int64_t weightBytes() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace atlas::engine
