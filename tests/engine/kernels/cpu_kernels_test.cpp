// SPDX-License-Identifier: Apache-2.0
// Every instruction set's kernels against plain loops in float64.
#include "engine/kernels/cpu/cpu_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {
namespace {

std::vector<float> randomFloats(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& v : values) v = normal(generator);
    return values;
}

double gelu(double x) {
    return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
}

double activated(double x, Activation activation) {
    if (activation == Activation::Relu) return std::max(0.0, x);
    return activation == Activation::Gelu ? gelu(x) : x;
}

class CpuKernelsTest : public testing::TestWithParam<const CpuKernels*> {};

TEST_P(CpuKernelsTest, ProductMatchesPlainLoops) {
    const CpuKernels& kernels = *GetParam();
    for (const int n : {16, 32, 48, 112})
        for (const int64_t m : {1, 5, 14, 29}) {
            for (const auto activation : {Activation::None, Activation::Relu, Activation::Gelu}) {
                const int k = 21, rows = 3;
                const int64_t lda = 6;  // below k: a convolution along a line
                const size_t length = static_cast<size_t>((m - 1) * lda + k);
                const auto a = randomFloats(rows * length, 1);
                const auto b = randomFloats(static_cast<size_t>(rows * k * n), 2);
                const auto bias = randomFloats(static_cast<size_t>(n), 3);
                const auto packed = packPanels(b.data(), rows * k, n, kernels.panel);
                std::vector<float> c(static_cast<size_t>(m * n));
                ProductTask task;
                for (size_t r = 0; r < 3; ++r) task.a[r] = a.data() + r * length;
                task.rows = rows;
                task.lda = lda;
                task.k = k;
                task.b = packed.data();
                task.c = c.data();
                task.ldc = n;
                task.m = m;
                task.n = n;
                task.bias = bias.data();
                task.activation = activation;
                kernels.product(task);
                for (int64_t i = 0; i < m; ++i)
                    for (int j = 0; j < n; ++j) {
                        double sum = bias[static_cast<size_t>(j)];
                        for (size_t r = 0; r < 3; ++r)
                            for (int x = 0; x < k; ++x)
                                sum += double(a[r * length + static_cast<size_t>(i * lda + x)]) *
                                       b[(r * k + static_cast<size_t>(x)) * n +
                                         static_cast<size_t>(j)];
                        ASSERT_NEAR(c[static_cast<size_t>(i * n + j)], activated(sum, activation),
                                    2e-5)
                            << n << ' ' << m;
                    }
            }
        }
}

/// Rows as productBf16() reads them, in two calls where they are many; nothing without it.
AlignedFloats packedRows(const CpuKernels& kernels, const std::vector<float>& x, int64_t stride,
                         int64_t rows, int k) {
    AlignedFloats packed(bf16Floats(rows, k));
    if (!kernels.packRowsBf16) return packed;
    auto* tiles = reinterpret_cast<uint16_t*>(packed.data());
    const int64_t first = std::min<int64_t>(rows, 2 * kBf16Rows);
    kernels.packRowsBf16(x.data(), stride, first, k, tiles);
    kernels.packRowsBf16(x.data() + first * stride, stride, rows - first, k,
                         tiles + 2 * bf16Floats(first, k));
    return packed;
}

/// In several parts of the inner dimension, each of which finds in c what the ones before left.
TEST_P(CpuKernelsTest, ProductIsAddedToTheTotalAndLeavesTheRestAlone) {
    const CpuKernels& kernels = *GetParam();
    constexpr int64_t m = 31, wide = 80, between = 64;
    constexpr int k = 1100, n = 48;
    const auto a = randomFloats(m * k, 31), b = randomFloats(k * n, 32), bias = randomFloats(n, 33);
    const auto before = randomFloats(m * wide, 34);
    const auto packed = packPanels(b.data(), k, n, kernels.panel);
    const auto pairs = packPairs(b.data(), k, n);
    const auto tiles = packedRows(kernels, a, k, m, k);
    for (const bool bf16 : {false, true}) {
        if (bf16 && !kernels.productBf16) continue;
        std::vector<float> total = before, c(m * between, NAN);
        ProductTask task;
        task.a[0] = a.data();
        task.lda = k;
        task.k = k;
        task.b = packed.data();
        task.pairs = pairs.data();
        task.tiles = reinterpret_cast<const uint16_t*>(tiles.data());
        task.c = c.data();
        task.ldc = between;
        task.total = total.data();
        task.totalStride = wide;
        task.m = m;
        task.n = n;
        task.bias = bias.data();
        (bf16 ? kernels.productBf16 : kernels.product)(task);
        for (size_t i = 0; i < m; ++i)
            for (size_t j = 0; j < wide; ++j) {
                double sum = before[i * wide + j];
                if (j < n) {
                    sum += bias[j];
                    for (size_t x = 0; x < k; ++x) sum += double(a[i * k + x]) * b[x * n + j];
                }
                // Sums of 1100 products of about 1, each factor of bfloat16 within 2^-9.
                ASSERT_NEAR(total[i * wide + j], sum,
                            j >= n ? 0
                            : bf16 ? 0.6
                                   : 2e-4)
                    << i << ' ' << j;
            }
    }
    ProductTask nothing;  // no row: nothing is read or written
    nothing.k = k;
    nothing.n = n;
    nothing.b = packed.data();
    kernels.product(nothing);
}

float rounded(float x) {
    return at::tensor(x).to(at::kBFloat16).item<float>();
}

TEST_P(CpuKernelsTest, ProductOfBfloat16IsThatOfTheRoundedFactors) {
    if (!GetParam()->productBf16)
        GTEST_SKIP() << "SKIPPED: no bfloat16 products in the table " << GetParam()->name;
    for (const auto& [m, k, n] :
         {std::tuple{1, 16, 16}, {33, 40, 48}, {64, 96, 32}, {15, 7, 16}, {100, 200, 80}}) {
        SCOPED_TRACE(std::to_string(m) + " " + std::to_string(k) + " " + std::to_string(n));
        const auto sized = [](int a, int b) {
            return static_cast<size_t>(a) * static_cast<size_t>(b);
        };
        const auto a = randomFloats(sized(m, k + 3), 21), b = randomFloats(sized(k, n), 22);
        const auto bias = randomFloats(static_cast<size_t>(n), 23);
        std::vector<float> c(sized(m, n + 16), -7);
        const auto pairs = packPairs(b.data(), k, n);
        const auto tiles = packedRows(*GetParam(), a, k + 3, m, k);
        ProductTask task;
        task.a[0] = a.data();
        task.lda = k + 3;
        task.k = k;
        task.pairs = pairs.data();
        task.tiles = reinterpret_cast<const uint16_t*>(tiles.data());
        task.c = c.data();
        task.ldc = n + 16;
        task.m = m;
        task.n = n;
        task.bias = bias.data();
        task.activation = Activation::Relu;
        GetParam()->productBf16(task);
        for (int i = 0; i < m; ++i) {
            for (int j = 0; j < n; ++j) {
                double sum = bias[static_cast<size_t>(j)];
                for (int l = 0; l < k; ++l)
                    sum += double(rounded(a[sized(i, k + 3) + static_cast<size_t>(l)])) *
                           rounded(b[sized(l, n) + static_cast<size_t>(j)]);
                ASSERT_NEAR(c[sized(i, n + 16) + static_cast<size_t>(j)], std::max(0.0, sum), 2e-4)
                    << i << ' ' << j;
            }
            for (int j = n; j < n + 16; ++j)
                ASSERT_EQ(c[sized(i, n + 16) + static_cast<size_t>(j)], -7);
        }
    }
}

TEST_P(CpuKernelsTest, WinogradIsTheConvolution) {
    const CpuKernels& kernels = *GetParam();
    const int ci = 16, co = 32;
    for (const auto& [height, width] : {std::pair{8, 12}, {5, 7}, {4, 1}}) {
        const int tilesX = (width + 3) / 4, tilesY = (height + 3) / 4;
        const int inRow = (tilesX * 4 + 2) * ci, outRow = width * co;
        const auto input = randomFloats(static_cast<size_t>((tilesY * 4 + 2) * inRow), 4);
        const auto weights = randomFloats(static_cast<size_t>(co * ci * 9), 5);
        const auto bias = randomFloats(co, 6);
        const auto residual = randomFloats(static_cast<size_t>(height * outRow), 7);
        const int64_t tiles = tilesX * tilesY, stride = tiles * co + 16;
        std::vector<float> in(static_cast<size_t>(kWinogradCells * stride)), out(in.size());
        std::vector<float> result(residual.size(), NAN);
        WinogradTiles t;
        t.input = input.data();
        t.inputRow = inRow;
        t.output = result.data();
        t.outputRow = outRow;
        t.residual = residual.data();
        t.residualRow = outRow;
        t.channelsIn = ci;
        t.channelsOut = co;
        t.tilesPerRow = tilesX;
        t.count = tiles;
        t.height = height;
        t.width = width;
        t.bias = bias.data();
        t.cells = in.data();
        t.cellStride = stride;
        kernels.winogradInput(t);
        for (int cell = 0; cell < kWinogradCells; ++cell) {
            std::vector<float> matrix(static_cast<size_t>(ci * co));
            for (int o = 0; o < co; ++o)
                for (int i = 0; i < ci; ++i) {
                    double cells[kWinogradCells];
                    winogradWeights(weights.data() + (o * ci + i) * 9, cells);
                    matrix[static_cast<size_t>(i * co + o)] = static_cast<float>(cells[cell]);
                }
            const auto packed = packPanels(matrix.data(), ci, co, kernels.panel);
            ProductTask p;
            p.a[0] = in.data() + cell * stride;
            p.lda = ci;
            p.k = ci;
            p.b = packed.data();
            p.c = out.data() + cell * stride;
            p.ldc = co;
            p.m = tiles;
            p.n = co;
            kernels.product(p);
        }
        t.cells = out.data();
        kernels.winogradOutput(t);
        double worst = 0, peak = 0;
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x)
                for (int o = 0; o < co; ++o) {
                    double sum = bias[static_cast<size_t>(o)];
                    for (int dy = 0; dy < 3; ++dy)
                        for (int dx = 0; dx < 3; ++dx)
                            for (int i = 0; i < ci; ++i)
                                sum += double(input[static_cast<size_t>((y + dy) * inRow +
                                                                        (x + dx) * ci + i)]) *
                                       weights[static_cast<size_t>((o * ci + i) * 9 + dy * 3 + dx)];
                    peak = std::max(peak, std::abs(sum));
                    const auto at = static_cast<size_t>(y * outRow + x * co + o);
                    worst = std::max(worst, std::abs(sum + residual[at] - result[at]));
                }
        EXPECT_LE(worst, 1e-5 * peak) << height << " x " << width;  // the issue asks for 1e-4
    }
}

TEST_P(CpuKernelsTest, ActivationsAreTheExactOnes) {
    std::vector<float> x, y;
    for (double v = -12; v <= 12; v += 1.0 / 64) x.push_back(static_cast<float>(v));
    y.resize(x.size() * 16);
    std::vector<float> one(16, 0);
    one[0] = 1;
    const auto packed = packPanels(one.data(), 1, 16, GetParam()->panel);
    ProductTask task;
    task.a[0] = x.data();
    task.lda = 1;
    task.k = 1;
    task.b = packed.data();
    task.c = y.data();
    task.ldc = 16;
    task.m = static_cast<int64_t>(x.size());
    task.n = 16;
    task.activation = Activation::Gelu;
    GetParam()->product(task);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i * 16], gelu(x[i]), 3e-6) << x[i];
    x.insert(x.end(), {-200.0f, -88.5f, 88.5f, 3e4f});
    y.resize(x.size() * 16);
    task.a[0] = x.data();
    task.c = y.data();
    task.m = static_cast<int64_t>(x.size());
    task.activation = Activation::Silu;
    GetParam()->product(task);
    for (size_t i = 0; i < x.size(); ++i) {
        const double v = x[i], expected = v / (1 + std::exp(-v));
        ASSERT_NEAR(y[i * 16], expected, 3e-6 * std::max(1.0, std::abs(expected))) << v;
    }
}

struct AttentionCase {
    int queries, size;
    std::vector<int> keys;
    int masked;     // 0: none, 1: some keys, 2: all keys of the first segment, 3: every key
    int apart = 3;  // values between rows; 0: keys and values may be read where they lie
};

TEST_P(CpuKernelsTest, AttentionIsOneSoftmaxOverAllSegments) {
    const std::vector<AttentionCase> cases{
        {64, 32, {64, 64}, 0},    {25, 20, {25}, 0},       {256, 64, {256, 256, 64}, 0},
        {16, 32, {256}, 1},       {33, 8, {16, 9, 4}, 1},  {12, 24, {36, 16}, 2},
        {5, 16, {7, 3}, 3},       {1, 128, {1, 2, 40}, 1}, {64, 32, {64, 130}, 0, 0},
        {17, 64, {300, 5}, 1, 0}, {9, 24, {20}, 0, 0},
    };
    unsigned seed = 20;
    for (const auto& c : cases) {
        int all = 0;
        for (int n : c.keys) all += n;
        const auto size = static_cast<size_t>(c.size), total = static_cast<size_t>(all),
                   queries = static_cast<size_t>(c.queries);
        const size_t stride = size + static_cast<size_t>(c.apart);
        const auto q = randomFloats(queries * stride, ++seed);
        auto k = randomFloats(total * stride, ++seed);
        const auto v = randomFloats(total * stride, ++seed);
        for (float& x : k) x *= 3;
        std::vector<uint8_t> valid(total, 1), validQuery(queries, 1);
        for (size_t i = 0; i < total; ++i)
            if ((c.masked == 1 && i % 3 == 1) || c.masked == 3 ||
                (c.masked == 2 && i < static_cast<size_t>(c.keys[0])))
                valid[i] = 0;
        validQuery[0] = c.queries == 1;
        std::vector<float> out(queries * stride, NAN), mass(c.keys.size() * queries),
            received(total, 0);
        AttentionTask t;
        t.q = q.data();
        t.queryStride = t.outStride = static_cast<int64_t>(stride);
        t.queries = c.queries;
        t.headSize = c.size;
        t.scale = 1 / std::sqrt(static_cast<float>(c.size));
        size_t first = 0;
        for (int n : c.keys) {
            t.segment[t.segments++] = {k.data() + first * stride, v.data() + first * stride,
                                       static_cast<int64_t>(stride), n,
                                       c.masked ? valid.data() + first : nullptr};
            first += static_cast<size_t>(n);
        }
        t.out = out.data();
        t.mass = mass.data();
        t.received = received.data();
        t.validQuery = validQuery.data();
        std::vector<float> scratch(static_cast<size_t>(attentionScratch(t)), NAN);
        t.scratch = scratch.data();
        GetParam()->attention(t);
        std::vector<double> expectedReceived(total, 0);
        for (size_t i = 0; i < queries; ++i) {
            std::vector<double> weight(total, 0);
            double sum = 0;
            for (size_t j = 0; j < total; ++j) {
                double dot = 0;
                for (size_t d = 0; d < size; ++d)
                    dot += double(q[i * stride + d]) * k[j * stride + d];
                weight[j] = valid[j] ? std::exp(dot / std::sqrt(double(c.size))) : 0;
                sum += weight[j];
            }
            size_t j = 0;
            for (size_t s = 0; s < c.keys.size(); ++s) {
                double share = 0;
                for (int n = 0; n < c.keys[s]; ++n, ++j) {
                    weight[j] = sum > 0 ? weight[j] / sum : 0;
                    share += weight[j];
                    if (validQuery[i]) expectedReceived[j] += weight[j];
                }
                ASSERT_NEAR(mass[s * queries + i], share, 1e-5);
            }
            for (size_t d = 0; d < size; ++d) {
                double value = 0;
                for (j = 0; j < total; ++j) value += weight[j] * v[j * stride + d];
                ASSERT_NEAR(out[i * stride + d], value, 3e-5) << c.queries << ' ' << c.size;
            }
        }
        for (size_t j = 0; j < total; ++j) ASSERT_NEAR(received[j], expectedReceived[j], 1e-4);
    }
}

TEST_P(CpuKernelsTest, MemoryScoresAreNormalisedOverTokensAndThenOverSlots) {
    for (const auto& [tokens, slots] : {std::pair<size_t, size_t>{256, 64}, {7, 5}, {16, 33}}) {
        SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(slots) + " slots");
        const size_t wide = (slots + 15) / 16 * 16, stride = wide + 16;
        auto scores = randomFloats(tokens * stride, 11);
        for (float& score : scores) score *= 9;
        std::vector<uint8_t> valid(tokens, 1);
        for (size_t n = 2; n < tokens; n += 3) valid[n] = 0;
        for (const bool masked : {false, true}) {
            const auto taken = [&](size_t n) { return !masked || valid[n] != 0; };
            auto mine = scores;
            std::vector<float> received(tokens, -1);
            AlignedFloats scratch(static_cast<int64_t>(2 * wide));
            MemoryTask task;
            task.scores = mine.data();
            task.stride = static_cast<int64_t>(stride);
            task.tokens = static_cast<int64_t>(tokens);
            task.slots = static_cast<int>(slots);
            task.valid = masked ? valid.data() : nullptr;
            task.received = received.data();
            task.scratch = scratch.data();
            GetParam()->normaliseTwice(task);
            std::vector<double> share(tokens * slots), sum(tokens);
            for (size_t m = 0; m < slots; ++m) {
                double all = 0;
                for (size_t n = 0; n < tokens; ++n)
                    if (taken(n)) all += std::exp(double(scores[n * stride + m]));
                for (size_t n = 0; n < tokens; ++n) {
                    share[n * slots + m] =
                        taken(n) ? std::exp(double(scores[n * stride + m])) / all : 0;
                    sum[n] += share[n * slots + m];
                }
            }
            for (size_t n = 0; n < tokens; ++n) {
                ASSERT_NEAR(received[n], sum[n], 1e-5);
                for (size_t m = 0; m < slots; ++m)
                    ASSERT_NEAR(mine[n * stride + m], share[n * slots + m] / (sum[n] + 1e-9), 1e-5)
                        << n << ' ' << m;
                for (size_t m = slots; m < wide; ++m) ASSERT_EQ(mine[n * stride + m], 0);
            }
        }
    }
}

TEST_P(CpuKernelsTest, LayerNormLeavesPaddedChannelsZero) {
    const int channels = 20;
    auto x = randomFloats(3 * 32, 8);
    for (size_t p = 0; p < 3; ++p)
        for (size_t c = channels; c < 32; ++c) x[p * 32 + c] = 0;
    const auto before = x;
    auto gamma = randomFloats(32, 9), beta = randomFloats(32, 10);
    for (size_t c = channels; c < 32; ++c) gamma[c] = beta[c] = 0;
    GetParam()->layerNorm(x.data(), 3, channels, gamma.data(), beta.data(), 1e-6f);
    for (size_t p = 0; p < 3; ++p) {
        double mean = 0, variance = 0;
        for (size_t c = 0; c < channels; ++c) mean += before[p * 32 + c] / double(channels);
        for (size_t c = 0; c < channels; ++c)
            variance += std::pow(before[p * 32 + c] - mean, 2) / channels;
        for (size_t c = 0; c < channels; ++c)
            ASSERT_NEAR(
                x[p * 32 + c],
                (before[p * 32 + c] - mean) / std::sqrt(variance + 1e-6) * gamma[c] + beta[c],
                1e-5);
        for (size_t c = channels; c < 32; ++c) ASSERT_EQ(x[p * 32 + c], 0);
    }
}

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, CpuKernelsTest, testing::ValuesIn(usableCpuKernels()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace atlas::engine
