// SPDX-License-Identifier: Apache-2.0
// A vector of floats as wide as the instruction set that this file is compiled for, and the few
// functions that the kernels need of it. Included by the cpu_kernels_*.cpp files alone.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__GNUC__)
// GCC 12 takes the header's own "undefined" vectors for a mistake.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#define ATLAS_AVX512_LANES
#endif

namespace atlas::engine::ATLAS_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

#if defined(__GNUC__)
using Lanes = float __attribute__((vector_size(kLanes * 4)));
using Ints = int32_t __attribute__((vector_size(kLanes * 4)));

inline Lanes load(const float* p) {
    Lanes v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, Lanes v) {
    std::memcpy(p, &v, sizeof v);
}
inline Lanes splat(float x) {
    return x - Lanes{};  // not +: adding 0 would change -0, so the compiler would keep it
}
inline Lanes larger(Lanes a, Lanes b) {
    return a > b ? a : b;
}
inline Lanes smaller(Lanes a, Lanes b) {
    return a < b ? a : b;
}
#if defined(ATLAS_AVX512_LANES)
inline float sum(Lanes v) {
    return _mm512_reduce_add_ps(v);
}
#else
inline float sum(Lanes v) {
    float total = 0;
    for (int i = 0; i < kLanes; ++i) total += v[i];
    return total;
}
#endif
/// 2^round(x) for |x| below 120; `rounded` receives round(x).
inline Lanes powerOfTwo(Lanes x, Lanes& rounded) {
    const Lanes shifted = x + splat(12582912.0f);  // 1.5 * 2^23: the low bits hold the integer
    rounded = shifted - splat(12582912.0f);
    Ints bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + (127 - 0x4B400000)) << 23;
    Lanes power;
    std::memcpy(&power, &bits, sizeof power);
    return power;
}
#else
// A compiler without vector extensions: loops that it may vectorise itself.
struct Lanes {
    float v[kLanes];
    float operator[](int i) const { return v[i]; }
};
#define ATLAS_LANES_OPERATOR(op)                                    \
    inline Lanes operator op(Lanes a, Lanes b) {                    \
        for (int i = 0; i < kLanes; ++i) a.v[i] = a.v[i] op b.v[i]; \
        return a;                                                   \
    }
ATLAS_LANES_OPERATOR(+)
ATLAS_LANES_OPERATOR(-)
ATLAS_LANES_OPERATOR(*)
ATLAS_LANES_OPERATOR(/)
#undef ATLAS_LANES_OPERATOR
inline Lanes load(const float* p) {
    Lanes v;
    std::memcpy(v.v, p, sizeof v.v);
    return v;
}
inline void store(float* p, Lanes v) {
    std::memcpy(p, v.v, sizeof v.v);
}
inline Lanes splat(float x) {
    Lanes v;
    for (float& e : v.v) e = x;
    return v;
}
inline Lanes operator*(float a, Lanes b) {
    return splat(a) * b;
}
inline Lanes& operator+=(Lanes& a, Lanes b) {
    return a = a + b;
}
inline Lanes larger(Lanes a, Lanes b) {
    for (int i = 0; i < kLanes; ++i) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return a;
}
inline Lanes smaller(Lanes a, Lanes b) {
    for (int i = 0; i < kLanes; ++i) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return a;
}
inline float sum(Lanes v) {
    float total = 0;
    for (float e : v.v) total += e;
    return total;
}
inline Lanes powerOfTwo(Lanes x, Lanes& rounded) {
    Lanes power;
    for (int i = 0; i < kLanes; ++i) {
        const auto whole = static_cast<int32_t>(x.v[i] + (x.v[i] < 0 ? -0.5f : 0.5f));
        rounded.v[i] = static_cast<float>(whole);
        const int32_t bits = (whole + 127) << 23;
        std::memcpy(&power.v[i], &bits, sizeof bits);
    }
    return power;
}
#endif

/// rows[i][j] and rows[j][i] change places.
#if defined(__GNUC__) && !defined(__clang__)
template <int Distance>
inline __attribute__((always_inline)) void exchange(Lanes* rows) {
    Ints low, high;
    for (int i = 0; i < kLanes; ++i) {
        low[i] = i & Distance ? kLanes + i - Distance : i;
        high[i] = i & Distance ? kLanes + i : i + Distance;
    }
    for (int r = 0; r < kLanes; ++r) {
        if (r & Distance) continue;
        const Lanes a = rows[r], b = rows[r + Distance];
        rows[r] = __builtin_shuffle(a, b, low);
        rows[r + Distance] = __builtin_shuffle(a, b, high);
    }
    if constexpr (Distance > 1) exchange<Distance / 2>(rows);
}
inline __attribute__((always_inline)) void transpose(Lanes* rows) {
    exchange<kLanes / 2>(rows);
}
#else
inline void transpose(Lanes* rows) {
    float plain[kLanes][kLanes];
    for (int i = 0; i < kLanes; ++i)
        for (int j = 0; j < kLanes; ++j) plain[j][i] = rows[i][j];
    for (int i = 0; i < kLanes; ++i) rows[i] = load(plain[i]);
}
#endif

/// e^x for x <= 0, to 2e-7 relative; 0 below -87 and for -infinity.
inline Lanes expOf(Lanes x) {
    const Lanes bounded = larger(x, splat(-88.0f));
    Lanes n;
    const Lanes power = powerOfTwo(bounded * splat(1.44269504088896f), n);
    // ln 2 in two parts keeps the remainder exact.
    const Lanes r = (bounded - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
    Lanes p = splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    // At the bound the power has reached 2^-127, whose bits are those of 0.
    return p * power;
}

/// 2^x for x <= 0, to 2e-7 relative; at most 2^-126 below that.
inline Lanes exp2Of(Lanes x) {
#if defined(ATLAS_AVX512_LANES)
    const Lanes n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
#else
    x = larger(x, splat(-126.0f));
    Lanes n;
    const Lanes power = powerOfTwo(x, n);
#endif
    const Lanes r = x - n;
    Lanes p = splat(1.326472701e-03f);
    p = p * r + splat(9.671513003e-03f);
    p = p * r + splat(5.550733747e-02f);
    p = p * r + splat(2.402224208e-01f);
    p = p * r + splat(6.931469776e-01f);
    p = p * r + splat(1.0f);
#if defined(ATLAS_AVX512_LANES)
    return _mm512_scalef_ps(p, n);
#else
    return p * power;
#endif
}

/// erf by a rational approximation (odd degree 13 over degree 8 on [-4, 4]); error below 4e-7.
inline Lanes erfOf(Lanes x) {
    x = larger(smaller(x, splat(4.0f)), splat(-4.0f));
    const Lanes y = x * x;
    Lanes p = splat(-2.72614225801306e-10f);
    p = p * y + splat(2.77068142495902e-08f);
    p = p * y + splat(-2.10102402082508e-06f);
    p = p * y + splat(-5.69250639462346e-05f);
    p = p * y + splat(-7.34990630326855e-04f);
    p = p * y + splat(-2.95459980854025e-03f);
    p = p * y + splat(-1.60960333262415e-02f);
    Lanes q = splat(-1.45660718464996e-05f);
    q = q * y + splat(-2.13374055278905e-04f);
    q = q * y + splat(-1.68282697438203e-03f);
    q = q * y + splat(-7.37332916720468e-03f);
    q = q * y + splat(-1.42647390514189e-02f);
#if defined(ATLAS_AVX512_LANES)
    // A division would take longer than all of the above: 14 bits of 1 / q, and Newton's step.
    const Lanes inverse = _mm512_rcp14_ps(q);
    return x * p * (inverse * (splat(2.0f) - q * inverse));
#else
    return x * p / q;
#endif
}

/// x / (1 + e^-x), with the exponential of what is below 0 alone.
inline Lanes siluOf(Lanes x) {
    const Lanes negative = smaller(x, splat(0.0f));
    const Lanes e = expOf(negative - larger(x, splat(0.0f)));  // e^-|x|
    // For x < 0 the sigmoid is e / (1 + e): x e = negative e, and the other part is 0.
    return (larger(x, splat(0.0f)) + negative * e) / (splat(1.0f) + e);
}

inline Lanes geluOf(Lanes x) {
    const Lanes half = x * splat(0.5f);
    return half + half * erfOf(x * splat(0.70710678118654752f));
}

}  // namespace atlas::engine::ATLAS_ISA
