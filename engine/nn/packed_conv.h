// SPDX-License-Identifier: Apache-2.0
// Layers of the stem, packed for the processor's kernels.
#pragma once

#include <functional>
#include <vector>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/layers.h"

namespace atlas::engine {

/// Weights of one 3x3 convolution, packed for the kernels.
struct PackedConv {
    int64_t in = 0, out = 0;  ///< channels as stored: padded, but for the pixels themselves
    int64_t stride = 1;
    std::vector<float> bias;
    std::vector<float> lines;  ///< direct: [3][3 * in][out]
    std::vector<float> cells;  ///< Winograd: kWinogradCells times [in][out]
    at::Tensor bf16Weight;

    /// `conv` must be folded; `storedIn`: floats that its input holds a pixel.
    PackedConv(const ConvNorm& conv, int64_t storedIn, const CpuKernels& kernels);
};

/// A stride-1 convolution by Winograd's tiles, on all threads. `task`: input and output with their
/// rows, residual, height, width and activation; the rest is set here. `wanted` (or null): whether
/// a block of tiles is needed.
void convolveTiles(const CpuKernels& kernels, const PackedConv& conv, WinogradTiles task,
                   const std::function<bool(const WinogradTiles&)>& wanted = {});

struct PackedNorm {
    std::vector<float> gamma, beta;
    int channels = 0;
    float eps = 0;

    explicit PackedNorm(const LayerNorm& norm);
};

}  // namespace atlas::engine
