// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "engine/kernels/cpu/peak.h"
#include "engine/kernels/cpu/peak_body.h"

namespace atlas::engine {
namespace {

struct Avx2 {
    using Sum = __m256;
    using Factor = __m256;
    static Sum start(int i) { return _mm256_set1_ps(1.0f + static_cast<float>(i)); }
    static Factor factor(int i) { return _mm256_set1_ps(i ? 1e-3f : 0.999f); }
    static Sum multiplyAdd(Sum sum, Factor a, Factor b) { return _mm256_fmadd_ps(sum, a, b); }
    static float first(Sum sum) { return _mm256_cvtss_f32(sum); }
};
ATLAS_PEAK_RUN(Avx2)

}  // namespace

extern const PeakLoop kAvx2Peak;
const PeakLoop kAvx2Peak{"avx2", false, 2.0 * 8 * kPeakChains* kPeakRounds, run};

}  // namespace atlas::engine
