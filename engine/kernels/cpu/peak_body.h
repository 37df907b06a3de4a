// SPDX-License-Identifier: Apache-2.0
// The loop of peak.h for one vector type, compiled once an instruction set. Includers define
// namespace, vector and operation.
#pragma once

#include <cstdint>

namespace atlas::engine {

/// As many chains as hide the latency of a multiply-add on two units (8 to 10 are enough) and as
/// fit the registers beside two factors.
inline constexpr int kPeakChains = 12;
inline constexpr int kPeakRounds = 8;  ///< a step has so many multiply-adds of each chain

}  // namespace atlas::engine

/// Traits: Sum, Factor, Sum zero(int), Factor factor(int), Sum multiplyAdd(Sum, Factor, Factor),
/// float first(Sum).
#define ATLAS_PEAK_RUN(Traits)                                                                     \
    float run(int64_t steps) {                                                                     \
        typename Traits::Sum sums[kPeakChains];                                                    \
        _Pragma("GCC unroll 16") for (int i = 0; i < kPeakChains; ++i) sums[i] = Traits::start(i); \
        const auto a = Traits::factor(0), b = Traits::factor(1);                                   \
        for (int64_t step = 0; step < steps; ++step)                                               \
            _Pragma("GCC unroll 16") for (int round = 0; round < kPeakRounds; ++round)             \
                _Pragma("GCC unroll 16") for (int i = 0; i < kPeakChains; ++i) sums[i] =           \
                    Traits::multiplyAdd(sums[i], a, b);                                            \
        float total = 0;                                                                           \
        _Pragma("GCC unroll 16") for (int i = 0; i < kPeakChains; ++i) total +=                    \
            Traits::first(sums[i]);                                                                \
        return total;                                                                              \
    }
