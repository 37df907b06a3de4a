// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/cpu/peak.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/aligned_floats.h"

namespace atlas::engine {
namespace {

double secondsOf(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// GFLOP/s of one product of a table on one thread; its factors stay in the first caches.
double productGflops(const CpuKernels& kernels) {
    constexpr int kInner = 256, kColumns = 64;
    constexpr int64_t kRows = 56;
    const std::vector<float> a(kRows * kInner, 0.5f), b(kInner * kColumns, 0.25f);
    const auto packed = packPanels(b.data(), kInner, kColumns, kernels.panel);
    std::vector<float> c(kRows * kColumns);
    ProductTask task;
    task.a[0] = a.data();
    task.lda = task.k = kInner;
    task.b = packed.data();
    task.c = c.data();
    task.ldc = task.n = kColumns;
    task.m = kRows;
    constexpr int kTimes = 50;
    double best = 1e9;
    for (int round = 0; round < 20; ++round)
        best = std::min(best, secondsOf([&] {
                            for (int i = 0; i < kTimes; ++i) kernels.product(task);
                        }));
    return 2.0 * kRows * kInner * kColumns * kTimes / best / 1e9;
}

TEST(Peak, NoProductOfOursIsFasterThanTheProcessorsMultiplyAdds) {
    const CpuKernels& kernels = *usableCpuKernels().back();
    double peak = 0, product = 0;
    for (int round = 0; round < 5; ++round) {  // in turns: the same minute of the machine for both
        peak = std::max(peak, measurePeak(false, 1, 0.05).gflops);
        product = std::max(product, productGflops(kernels));
    }
    // 5 %: clocks change from one moment to the next.
    EXPECT_LE(product, 1.05 * peak);
    // A loop that waits for its own results would be a fourth to an eighth of the peak, or less.
    EXPECT_GT(product, 0.3 * peak) << "either the peak is wrong or the product has become slow";
}

TEST(Peak, EveryInstructionSetRunsAndWiderOnesAreNotMuchSlower) {
    double portable = 0, best = 0;
    for (const PeakLoop* loop : usablePeakLoops()) {
        EXPECT_TRUE(loop->run(10) == loop->run(10)) << loop->name;  // a number, no chance
        EXPECT_GT(loop->flops, 0) << loop->name;
        if (loop->bf16) continue;
        double seconds = 1e9;
        for (int round = 0; round < 20; ++round)
            seconds = std::min(seconds, secondsOf([&] { loop->run(20000); }));
        const double gflops = loop->flops * 20000 / seconds / 1e9;
        if (std::string(loop->name) == "portable") portable = gflops;
        best = std::max(best, gflops);
    }
    EXPECT_GT(portable, 0);
    EXPECT_GE(measurePeak(false, 1, 0.05).gflops, 0.8 * best);
}

}  // namespace
}  // namespace atlas::engine
