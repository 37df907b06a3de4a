// SPDX-License-Identifier: Apache-2.0
// The AVX-512 table and, beside it, a matrix product of bfloat16 with float32 sums on the
// processor's tiles (AMX, Sapphire Rapids and later).
//
// A tile is 16 rows of 64 bytes. Sums of 32 x 32 outputs stay in four tiles while 32 values of the
// inner dimension at a time come from two tiles of each factor.
#define ATLAS_ISA amx
#include "engine/kernels/cpu/cpu_kernels_body.h"  // and the intrinsics with it

namespace atlas::engine {
namespace amx {
namespace {

constexpr int kTile = kBf16Rows;    // and columns of float32
constexpr int kInner = kBf16Inner;  // bfloat16 values of a row of a tile
constexpr int kTileValues = kTile * kInner;

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t startRow = 0;
    uint8_t reserved[14] = {};
    uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {kTile, kTile, kTile, kTile, kTile, kTile, kTile, kTile};
};

/// [k blocks][16 rows][32] of 16 rows; rows and values beyond the end are 0.
void packTiles(const float* x, int64_t stride, int64_t rows, int k, uint16_t* tiles) {
    for (int first = 0; first < k; first += kInner, tiles += kTileValues)
        for (int64_t r = 0; r < kTile; ++r) {
            __m512i values = _mm512_setzero_si512();
            if (r < rows) {
                const float* from = x + r * stride + first;
                const int left = k - first;
                const auto mask = [](int n) {
                    return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n > 0 ? (1 << n) - 1 : 0);
                };
                const __m512 low = _mm512_maskz_loadu_ps(mask(left), from);
                const __m512 high = _mm512_maskz_loadu_ps(mask(left - 16), from + 16);
                values = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
            }
            _mm512_store_si512(tiles + r * kInner, values);
        }
}

/// An even number of rows of tiles.
void packRowsBf16(const float* x, int64_t stride, int64_t rows, int k, uint16_t* tiles) {
    const int64_t step = static_cast<int64_t>((k + kInner - 1) / kInner) * kTileValues;
    for (int64_t first = 0; first < rows; first += 2 * kTile)
        for (int64_t r = first; r < first + 2 * kTile; r += kTile, tiles += step)
            packTiles(x + r * stride, stride, rows - r < kTile ? rows - r : kTile, k, tiles);
}

/// 32 x 32 (or 32 x 16) outputs; `a`: two rows of tiles, `step` values apart.
template <int Columns>
void multiply(const uint16_t* a, int64_t step, const uint16_t* b, int blocks, float* sums) {
    _tile_zero(0);
    _tile_zero(2);
    if constexpr (Columns == 2) {
        _tile_zero(1);
        _tile_zero(3);
    }
    for (int i = 0; i < blocks; ++i) {
        _tile_loadd(4, a + i * kTileValues, 64);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + step + i * kTileValues, 64);
        _tile_dpbf16ps(2, 5, 6);
        if constexpr (Columns == 2) {
            _tile_loadd(7, b + kTileValues, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
        b += Columns * kTileValues;
    }
    constexpr int64_t stride = 2 * kTile * sizeof(float);
    _tile_stored(0, sums, stride);
    _tile_stored(2, sums + kTile * 2 * kTile, stride);
    if constexpr (Columns == 2) {
        _tile_stored(1, sums + kTile, stride);
        _tile_stored(3, sums + kTile * 2 * kTile + kTile, stride);
    }
}

void productBf16(const ProductTask& t) {
    const int blocks = (t.k + kInner - 1) / kInner;
    const int64_t bands = (t.m + 2 * kTile - 1) / (2 * kTile);
    const int64_t step = static_cast<int64_t>(blocks) * kTileValues;  // a row of tiles
    const TileConfig config;
    _tile_loadconfig(&config);
    alignas(64) float sums[2 * kTile * 2 * kTile];
    const uint16_t* panel = t.pairs;
    for (int n = 0; n < t.n; n += 2 * kTile) {
        const int columns = t.n - n > kTile ? 2 : 1;
        for (int64_t band = 0; band < bands; ++band) {
            const uint16_t* a = t.tiles + 2 * band * step;
            if (columns == 2)
                multiply<2>(a, step, panel, blocks, sums);
            else
                multiply<1>(a, step, panel, blocks, sums);
            const int64_t first = band * 2 * kTile;
            const int64_t rows = t.m - first < 2 * kTile ? t.m - first : 2 * kTile;
            for (int c = 0; c < columns * kTile; c += kLanes) {
                const Lanes bias = t.bias ? load(t.bias + n + c) : splat(0);
                for (int64_t r = 0; r < rows; ++r) {
                    const Lanes sum = load(sums + r * 2 * kTile + c) + bias;
                    if (t.total) {
                        float* to = t.total + (first + r) * t.totalStride + n + c;
                        store(to, load(to) + sum);
                    } else {
                        store(t.c + (first + r) * t.ldc + n + c, activated(sum, t.activation));
                    }
                }
            }
        }
        panel += static_cast<int64_t>(columns) * step;
    }
    _tile_release();
}

}  // namespace
}  // namespace amx

extern const CpuKernels kAmxKernels;
// Initialised by the compiler: nothing of this file may run on a processor without tiles.
constinit const CpuKernels kAmxKernels = [] {
    CpuKernels table = ATLAS_KERNEL_TABLE("amx");
    table.productBf16 = amx::productBf16;
    table.packRowsBf16 = amx::packRowsBf16;
    return table;
}();
}  // namespace atlas::engine
