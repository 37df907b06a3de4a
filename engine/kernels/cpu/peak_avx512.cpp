// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "engine/kernels/cpu/peak.h"
#include "engine/kernels/cpu/peak_body.h"

namespace atlas::engine {
namespace {

struct Avx512 {
    using Sum = __m512;
    using Factor = __m512;
    static Sum start(int i) { return _mm512_set1_ps(1.0f + static_cast<float>(i)); }
    static Factor factor(int i) { return _mm512_set1_ps(i ? 1e-3f : 0.999f); }
    static Sum multiplyAdd(Sum sum, Factor a, Factor b) { return _mm512_fmadd_ps(sum, a, b); }
    static float first(Sum sum) { return _mm512_cvtss_f32(sum); }
};
ATLAS_PEAK_RUN(Avx512)

}  // namespace

extern const PeakLoop kAvx512Peak;
const PeakLoop kAvx512Peak{"avx512", false, 2.0 * 16 * kPeakChains* kPeakRounds, run};

}  // namespace atlas::engine
