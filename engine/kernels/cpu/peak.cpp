// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <string>
#include <thread>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cpu/peak_body.h"

namespace atlas::engine {

#if defined(ATLAS_X86_KERNELS)
extern const PeakLoop kAvx2Peak;
extern const PeakLoop kAvx512Peak;
#endif
#if defined(ATLAS_AMX_KERNELS)
extern const PeakLoop kAvx512Bf16Peak;
extern const PeakLoop kAmxPeak;
#endif

namespace {

using Clock = std::chrono::steady_clock;

/// Four lanes of the compiler's own vectors: what the portable table's code becomes at best.
struct Portable {
#if defined(__GNUC__)
    typedef float Sum __attribute__((vector_size(16)));
#else
    using Sum = float;
#endif
    using Factor = Sum;
    static constexpr double kLanes = sizeof(Sum) / sizeof(float);
    static Sum splat(float x) {
        return Sum{} + x;
    }
    static Sum start(int i) {
        return splat(1.0f + static_cast<float>(i));
    }
    static Factor factor(int i) {
        return splat(i ? 1e-3f : 0.999f);
    }
    static Sum multiplyAdd(Sum sum, Factor a, Factor b) {
        return sum * a + b;
    }
    static float first(Sum sum) {
#if defined(__GNUC__)
        return sum[0];
#else
        return sum;
#endif
    }
};
ATLAS_PEAK_RUN(Portable)
const PeakLoop kPortablePeak{"portable", false, 2 * Portable::kLanes* kPeakChains* kPeakRounds,
                             run};

#if defined(ATLAS_AMX_KERNELS)
bool hasTable(const std::string& name) {
    const auto tables = usableCpuKernels();
    return std::any_of(tables.begin(), tables.end(),
                       [&](const CpuKernels* table) { return name == table->name; });
}
#endif

constexpr double kPiece = 0.002;  // seconds: short enough to find a moment that is ours alone

/// Seconds that all threads together take for so many steps each.
double secondsOf(const PeakLoop& loop, int threads, int64_t steps) {
    static std::atomic<float> sink;
    Clock::time_point begin, end;
    std::barrier start(threads, [&]() noexcept { begin = Clock::now(); });
    std::barrier finish(threads, [&]() noexcept { end = Clock::now(); });
    const auto work = [&] {
        start.arrive_and_wait();
        sink = loop.run(steps);
        finish.arrive_and_wait();
    };
    {
        std::vector<std::jthread> others;
        for (int i = 1; i < threads; ++i) others.emplace_back(work);
        work();
    }
    return std::chrono::duration<double>(end - begin).count();
}

double gflopsOf(const PeakLoop& loop, int threads, double seconds) {
    constexpr int64_t kFew = 2000;
    secondsOf(loop, threads, kFew);  // wakes the units
    const double one = std::max(1e-9, secondsOf(loop, threads, kFew) / kFew);
    const auto steps = std::max<int64_t>(1, static_cast<int64_t>(kPiece / one));
    double best = 0;
    const auto begin = Clock::now();
    do {
        const double flops = loop.flops * static_cast<double>(steps) * threads;
        best = std::max(best, flops / secondsOf(loop, threads, steps) / 1e9);
    } while (std::chrono::duration<double>(Clock::now() - begin).count() < seconds);
    return best;
}

}  // namespace

std::vector<const PeakLoop*> usablePeakLoops() {
    std::vector<const PeakLoop*> loops{&kPortablePeak};
#if defined(ATLAS_X86_KERNELS)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        loops.push_back(&kAvx2Peak);
    if (__builtin_cpu_supports("avx512f")) loops.push_back(&kAvx512Peak);
#endif
#if defined(ATLAS_AMX_KERNELS)
    if (__builtin_cpu_supports("avx512bf16")) loops.push_back(&kAvx512Bf16Peak);
    if (hasTable("amx")) loops.push_back(&kAmxPeak);
#endif
    return loops;
}

ProcessorPeak measurePeak(bool bf16, int threads, double seconds) {
    ProcessorPeak peak;
    for (const PeakLoop* loop : usablePeakLoops()) {
        if (loop->bf16 != bf16) continue;
        const double gflops = gflopsOf(*loop, std::max(1, threads), seconds);
        if (gflops > peak.gflops) peak = {gflops, loop->name};
    }
    return peak;
}

}  // namespace atlas::engine
