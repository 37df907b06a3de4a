// SPDX-License-Identifier: Apache-2.0
// The kernels of cpu_kernels.h in terms of Lanes. Included once by each cpu_kernels_*.cpp, which
// defines ATLAS_ISA and is compiled for that instruction set: nothing here may be called before
// the processor was asked, and nothing of the standard library's inline code is used, since the
// linker would keep one copy of it for all.
#pragma once

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cpu/lanes.h"

namespace atlas::engine::ATLAS_ISA {

#if defined(__AVX512F__)
inline constexpr int kBlockRows = 14;  // 28 accumulators of 32 registers
#else
inline constexpr int kBlockRows = 6;  // 12 of 16
#endif
inline constexpr int kPanel = 2 * kLanes;

#if defined(__GNUC__)
#define ATLAS_INLINE inline __attribute__((always_inline))
#else
#define ATLAS_INLINE inline
#endif

ATLAS_INLINE Lanes activated(Lanes x, Activation activation) {
    if (activation == Activation::Relu) return larger(x, splat(0));
    if (activation == Activation::Gelu) return geluOf(x);
    return x;
}

/// Rows x Columns lanes of c, starting at row `m` and column `n`.
template <int Rows, int Columns>
ATLAS_INLINE void productBlock(const ProductTask& t, int64_t m, int n, const float* panel) {
    Lanes sums[Rows][Columns];
    for (int i = 0; i < Rows; ++i)
        for (int j = 0; j < Columns; ++j) sums[i][j] = splat(0);
    const float* b = panel;
    for (int r = 0; r < t.rows; ++r) {
        const float* a = t.a[r] + m * t.lda;
        for (int k = 0; k < t.k; ++k, b += Columns * kLanes) {
            Lanes w[Columns];
            for (int j = 0; j < Columns; ++j) w[j] = load(b + j * kLanes);
#pragma GCC unroll 16
            for (int i = 0; i < Rows; ++i) {
                const Lanes x = splat(a[i * t.lda + k]);
#pragma GCC unroll 2
                for (int j = 0; j < Columns; ++j) sums[i][j] += x * w[j];
            }
        }
    }
    float* c = t.c + m * t.ldc + n;
    for (int j = 0; j < Columns; ++j) {
        const Lanes bias = t.bias ? load(t.bias + n + j * kLanes) : splat(0);
        for (int i = 0; i < Rows; ++i)
            store(c + i * t.ldc + j * kLanes, activated(sums[i][j] + bias, t.activation));
    }
}

template <int Columns, int Rows>
void productRest(const ProductTask& t, int64_t m, int n, const float* panel, int rows) {
    if (rows == Rows)
        productBlock<Rows, Columns>(t, m, n, panel);
    else if constexpr (Rows > 1)
        productRest<Columns, Rows - 1>(t, m, n, panel, rows);
}

template <int Columns>
void productPanel(const ProductTask& t, int n, const float* panel) {
    int64_t m = 0;
    for (; m + kBlockRows <= t.m; m += kBlockRows)
        productBlock<kBlockRows, Columns>(t, m, n, panel);
    if (m < t.m)
        productRest<Columns, kBlockRows - 1>(t, m, n, panel, static_cast<int>(t.m - m));
}

void product(const ProductTask& t) {
    const float* panel = t.b;
    for (int n = 0; n < t.n; n += kPanel) {
        const int width = t.n - n < kPanel ? t.n - n : kPanel;
        if (width == kPanel)
            productPanel<2>(t, n, panel);
        else
            productPanel<1>(t, n, panel);
        panel += static_cast<int64_t>(width) * t.rows * t.k;
    }
}

/// B^T of F(4, 3) along six values.
ATLAS_INLINE void inputTransform(const Lanes* d, Lanes* out, int step) {
    const Lanes a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1];
    const Lanes c = d[4] - d[2], e = 2.0f * (d[3] - d[1]);
    out[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    out[step] = a + b;
    out[2 * step] = a - b;
    out[3 * step] = c + e;
    out[4 * step] = c - e;
    out[5 * step] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

/// A^T of F(4, 3) along six values.
ATLAS_INLINE void outputTransform(const Lanes* m, Lanes* out, int step) {
    const Lanes p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    out[0] = m[0] + p + r;
    out[step] = q + 2.0f * s;
    out[2 * step] = p + 4.0f * r;
    out[3 * step] = q + 8.0f * s + m[5];
}

void winogradInput(const WinogradTiles& t) {
    constexpr int n = kWinogradInput;
    for (int64_t i = 0; i < t.count; ++i) {
        const int64_t tile = t.first + i;
        const float* corner = t.input + tile / t.tilesPerRow * kWinogradOutput * t.inputRow +
                              tile % t.tilesPerRow * kWinogradOutput * t.channelsIn;
        for (int c = 0; c < t.channelsIn; c += kLanes) {
            Lanes half[n * n];  // columns transformed: half[j * n + i]
            for (int x = 0; x < n; ++x) {
                Lanes d[n];
                for (int y = 0; y < n; ++y)
                    d[y] = load(corner + y * t.inputRow + x * t.channelsIn + c);
                inputTransform(d, half + x, n);
            }
            float* out = t.cells + i * t.channelsIn + c;
            for (int y = 0; y < n; ++y) {
                Lanes row[n];
                inputTransform(half + y * n, row, 1);
                for (int x = 0; x < n; ++x) store(out + (y * n + x) * t.cellStride, row[x]);
            }
        }
    }
}

void winogradOutput(const WinogradTiles& t) {
    constexpr int n = kWinogradInput, m = kWinogradOutput;
    for (int64_t i = 0; i < t.count; ++i) {
        const int64_t tile = t.first + i;
        const int64_t y0 = tile / t.tilesPerRow * m, x0 = tile % t.tilesPerRow * m;
        const int rows = static_cast<int>(t.height - y0 < m ? t.height - y0 : m);
        const int columns = static_cast<int>(t.width - x0 < m ? t.width - x0 : m);
        const int64_t at = x0 * t.channelsOut;
        float* out = t.output + y0 * t.outputRow + at;
        const float* residual = t.residual ? t.residual + y0 * t.residualRow + at : nullptr;
        for (int c = 0; c < t.channelsOut; c += kLanes) {
            const float* cells = t.cells + i * t.channelsOut + c;
            Lanes half[m * n];
            for (int x = 0; x < n; ++x) {
                Lanes d[n];
                for (int y = 0; y < n; ++y) d[y] = load(cells + (y * n + x) * t.cellStride);
                outputTransform(d, half + x, n);
            }
            const Lanes bias = load(t.bias + c);
            for (int y = 0; y < rows; ++y) {
                Lanes row[m];
                outputTransform(half + y * n, row, 1);
                for (int x = 0; x < columns; ++x) {
                    const int64_t pixel = static_cast<int64_t>(x) * t.channelsOut + c;
                    Lanes value = activated(row[x] + bias, t.activation);
                    if (residual) value += load(residual + y * t.residualRow + pixel);
                    store(out + y * t.outputRow + pixel, value);
                }
            }
        }
    }
}

void layerNorm(float* x, int64_t pixels, int channels, const float* gamma, const float* beta,
               float eps) {
    const int padded = (channels + kChannelGroup - 1) / kChannelGroup * kChannelGroup;
    const float inverse = 1.0f / static_cast<float>(channels);
    for (int64_t i = 0; i < pixels; ++i, x += padded) {
        Lanes total = splat(0);
        for (int c = 0; c < padded; c += kLanes) total += load(x + c);
        const float mean = sum(total) * inverse;
        Lanes squares = splat(0);
        for (int c = 0; c < padded; c += kLanes) {
            const Lanes d = load(x + c) - splat(mean);
            squares += d * d;
        }
        // The padded channels are 0 and added mean^2 each.
        const float variance =
            (sum(squares) - static_cast<float>(padded - channels) * mean * mean) * inverse;
        const float scale = 1.0f / __builtin_sqrtf((variance > 0 ? variance : 0) + eps);
        for (int c = 0; c < padded; c += kLanes)
            store(x + c, (load(x + c) - splat(mean)) * splat(scale) * load(gamma + c) +
                             load(beta + c));
    }
}

void biasGelu(float* x, int64_t rows, int64_t width, const float* bias) {
    for (int64_t r = 0; r < rows; ++r, x += width) {
        int64_t c = 0;
        for (; c + kLanes <= width; c += kLanes)
            store(x + c, geluOf(load(x + c) + load(bias + c)));
        for (; c < width; ++c) {
            const Lanes value = geluOf(splat(x[c] + bias[c]));
            x[c] = value[0];
        }
    }
}

}  // namespace atlas::engine::ATLAS_ISA

namespace atlas::engine {
/// Defined in the .cpp that includes this file.
#define ATLAS_KERNEL_TABLE(NAME)                                                          \
    {NAME,                      ATLAS_ISA::kPanel,    ATLAS_ISA::product,                 \
     ATLAS_ISA::winogradInput,  ATLAS_ISA::winogradOutput, ATLAS_ISA::layerNorm,          \
     ATLAS_ISA::biasGelu}
}  // namespace atlas::engine
