// SPDX-License-Identifier: Apache-2.0
// The stem on the processor, row by row: pixels stream in at the top, tokens come out at the
// bottom, and every layer keeps only the rows that its neighbours still need. Nothing is computed
// twice, each pixel is asked for once, and memory grows with the width of the image alone.
// Equal to AtlasStem to rounding (spec 3 and 10). Stride-1 layers use Winograd F(4x4, 3x3).
#pragma once

#include <memory>

#include "engine/nn/atlas_stem.h"
#include "engine/nn/stem_runner.h"

namespace atlas::engine {

struct CpuKernels;

/// Rows of image `index` of planes [B, C, H, W] (float32, dense) as pixels [rows][columns][C], as
/// StemImage::pixels wants them.
void pixelsOfPlanes(const at::Tensor& planes, int64_t index, int64_t row, int64_t rows,
                    int64_t column, int64_t columns, float* out, int64_t outRow);

class CpuStem : public StemRunner {
  public:
    /// `stem` must be folded, float32 and on the processor. `kernels`: for tests; default: the
    /// best.
    CpuStem(const AtlasStem& stem, const AtlasConfig& config, const CpuKernels* kernels = nullptr);
    ~CpuStem() override;
    CpuStem(CpuStem&&) noexcept;

    void run(const StemImage& image, const StemOptions& options) const override;

    /// [B, inChannels, H, W] float32 -> [B, ceil(H/16), ceil(W/16), dim].
    at::Tensor forward(const at::Tensor& image, const StemOptions& options = {}) const;

    double flopsPerPixel() const override;  ///< Winograd counted with what it does
    int64_t weightBytes() const override;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace atlas::engine
