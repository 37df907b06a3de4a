// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/cpu/cpu_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace atlas::engine {

extern const CpuKernels kPortableKernels;
#if defined(ATLAS_X86_KERNELS)
extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
#endif

std::vector<const CpuKernels*> usableCpuKernels() {
    std::vector<const CpuKernels*> tables{&kPortableKernels};
#if defined(ATLAS_X86_KERNELS)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables.push_back(&kAvx2Kernels);
    if (__builtin_cpu_supports("avx512f")) tables.push_back(&kAvx512Kernels);
#endif
    return tables;
}

const CpuKernels& cpuKernels() {
    static const CpuKernels& chosen = []() -> const CpuKernels& {
        const auto tables = usableCpuKernels();
        const char* asked = std::getenv("ATLASSCOPE_ISA");
        for (const auto* table : tables)
            if (asked && std::string(asked) == table->name) return *table;
        return *tables.back();
    }();
    return chosen;
}

std::vector<float> packPanels(const float* weights, int64_t k, int n, int panel) {
    std::vector<float> packed;
    packed.reserve(static_cast<size_t>(k) * static_cast<size_t>(n));
    for (int first = 0; first < n; first += panel) {
        const int width = std::min(panel, n - first);
        for (int64_t i = 0; i < k; ++i)
            packed.insert(packed.end(), weights + i * n + first, weights + i * n + first + width);
    }
    return packed;
}

int64_t attentionScratch(const AttentionTask& task) {
    int64_t keys = 0;
    for (int s = 0; s < task.segments; ++s) keys += paddedChannels(task.segment[s].count);
    const int64_t size = paddedChannels(task.headSize);
    // Packed keys and values, the mask, one block of rows of scores and of results.
    return keys * (size + size + 1) + kAttentionRows * (keys + kChannelGroup) +
           kAttentionRows * size;
}

void winogradWeights(const float* kernel, double* cells) {
    constexpr double g[kWinogradInput][3] = {{1. / 4, 0, 0},
                                             {-1. / 6, -1. / 6, -1. / 6},
                                             {-1. / 6, 1. / 6, -1. / 6},
                                             {1. / 24, 1. / 12, 1. / 6},
                                             {1. / 24, -1. / 12, 1. / 6},
                                             {0, 0, 1}};
    for (int y = 0; y < kWinogradInput; ++y)
        for (int x = 0; x < kWinogradInput; ++x) {
            double sum = 0;
            for (int i = 0; i < 3; ++i)
                for (int j = 0; j < 3; ++j) sum += g[y][i] * g[x][j] * kernel[3 * i + j];
            cells[y * kWinogradInput + x] = sum;
        }
}

}  // namespace atlas::engine
