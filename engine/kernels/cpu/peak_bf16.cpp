// SPDX-License-Identifier: Apache-2.0
// Products of bfloat16 summed in float32: by vectors (AVX-512 BF16) and by tiles (AMX).
#include <immintrin.h>

#include "engine/kernels/cpu/peak.h"
#include "engine/kernels/cpu/peak_body.h"

namespace atlas::engine {
namespace {
namespace vectors {

struct Bf16 {
    using Sum = __m512;
    using Factor = __m512bh;
    static Sum start(int i) { return _mm512_set1_ps(1.0f + static_cast<float>(i)); }
    static Factor factor(int i) {
        const __m512 value = _mm512_set1_ps(i ? 1e-3f : 0.5f);
        return _mm512_cvtne2ps_pbh(value, value);
    }
    static Sum multiplyAdd(Sum sum, Factor a, Factor b) { return _mm512_dpbf16_ps(sum, a, b); }
    static float first(Sum sum) { return _mm512_cvtss_f32(sum); }
};
ATLAS_PEAK_RUN(Bf16)

}  // namespace vectors

namespace tiles {

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t startRow = 0;
    uint8_t reserved[14] = {};
    uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr double kTileFlops = 2.0 * 16 * 16 * 32;
constexpr int kSums = 6;  // beside the two factors

float run(int64_t steps) {
    const TileConfig config;
    _tile_loadconfig(&config);
    alignas(64) uint16_t factor[16 * 32];
    for (auto& value : factor) value = 0x3c00;  // a 128th in bfloat16
    alignas(64) float sums[16 * 16] = {};
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums, 64);
    _tile_loadd(2, sums, 64);
    _tile_loadd(3, sums, 64);
    _tile_loadd(4, sums, 64);
    _tile_loadd(5, sums, 64);
    _tile_loadd(6, factor, 64);
    _tile_loadd(7, factor, 64);
    for (int64_t step = 0; step < steps; ++step) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    return sums[0];
}

}  // namespace tiles
}  // namespace

extern const PeakLoop kAvx512Bf16Peak;
const PeakLoop kAvx512Bf16Peak{"avx512-bf16", true, 4.0 * 16 * kPeakChains* kPeakRounds,
                               vectors::run};
extern const PeakLoop kAmxPeak;
const PeakLoop kAmxPeak{"amx-bf16", true, tiles::kTileFlops* tiles::kSums, tiles::run};

}  // namespace atlas::engine
