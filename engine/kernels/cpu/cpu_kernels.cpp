// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/cpu/cpu_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#if defined(ATLAS_AMX_KERNELS)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace atlas::engine {

extern const CpuKernels kPortableKernels;
#if defined(ATLAS_X86_KERNELS)
extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
#endif
#if defined(ATLAS_AMX_KERNELS)
extern const CpuKernels kAmxKernels;
#endif

namespace {

constexpr int kPairPanel = 32;  // columns

uint16_t toBfloat16(float x) {
    uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FC0;  // not a number
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

#if defined(ATLAS_AMX_KERNELS)
/// The processor has tiles of bfloat16, and the system gives them to this process.
bool hasTiles() {
    static const bool granted = [] {
        unsigned a = 0, b = 0, c = 0, d = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
            !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1))
            return false;
        const bool tiles = (d >> 24 & 1) && (d >> 22 & 1), convert = a1 >> 5 & 1;
        constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
        return tiles && convert && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
    }();
    return granted;
}
#endif

}  // namespace

std::vector<const CpuKernels*> usableCpuKernels() {
    std::vector<const CpuKernels*> tables{&kPortableKernels};
#if defined(ATLAS_X86_KERNELS)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables.push_back(&kAvx2Kernels);
    if (__builtin_cpu_supports("avx512f")) tables.push_back(&kAvx512Kernels);
#endif
#if defined(ATLAS_AMX_KERNELS)
    if (__builtin_cpu_supports("avx512f") && hasTiles()) tables.push_back(&kAmxKernels);
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

std::vector<uint16_t> packPairs(const float* weights, int64_t k, int n) {
    const int64_t blocks = (k + kBf16Inner - 1) / kBf16Inner;
    std::vector<uint16_t> packed;
    packed.reserve(static_cast<size_t>(blocks * kBf16Inner * n));
    for (int first = 0; first < n; first += kPairPanel)
        for (int64_t block = 0; block < blocks; ++block)
            for (int tile = first; tile < std::min(n, first + kPairPanel); tile += kBf16Rows)
                for (int64_t pair = 0; pair < kBf16Rows; ++pair)
                    for (int column = tile; column < tile + kBf16Rows; ++column)
                        for (int64_t half = 0; half < 2; ++half) {
                            const int64_t row = block * kBf16Inner + 2 * pair + half;
                            packed.push_back(row < k ? toBfloat16(weights[row * n + column]) : 0);
                        }
    return packed;
}

int64_t bf16Floats(int64_t rows, int64_t k) {
    const int64_t whole = (rows + 2 * kBf16Rows - 1) / (2 * kBf16Rows) * 2 * kBf16Rows;
    return whole * ((k + kBf16Inner - 1) / kBf16Inner) * kBf16Inner / 2;
}

int64_t attentionScratch(const AttentionTask& task) {
    int64_t keys = 0;
    for (int s = 0; s < task.segments; ++s) keys += task.segment[s].count;
    const int64_t size = paddedChannels(task.headSize);
    // Packed queries; of each key its scores, what it receives, its packed key and value; results.
    return kAttentionQueries * task.headSize +
           keys * (kAttentionQueries + kChannelGroup + 2 * size) + kAttentionQueries * size;
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
