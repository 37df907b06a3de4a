// SPDX-License-Identifier: Apache-2.0
// The kernels of cpu_kernels.h in terms of Lanes. Included once by each cpu_kernels_*.cpp, which
// defines ATLAS_ISA and is compiled for that instruction set: nothing here may be called before
// the processor was asked, and nothing of the standard library's inline code is used, since the
// linker would keep one copy of it for all.
#pragma once

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cpu/lanes.h"

namespace atlas::engine::ATLAS_ISA {

#if defined(__AVX512F__)
inline constexpr int kBlockRows = 14;  // 28 accumulators of 32 registers
#else
inline constexpr int kBlockRows = 6;  // 12 of 16
#endif
inline constexpr int kPanel = 2 * kLanes;
inline constexpr int kInnerMost = 8192 / kPanel;  // a panel's part is 32 KiB at most

#if defined(__GNUC__)
#define ATLAS_INLINE inline __attribute__((always_inline))
#else
#define ATLAS_INLINE inline
#endif

/// Whole groups of channels; paddedChannels() of the header would be shared between the tables.
ATLAS_INLINE int padded(int channels) {
    return (channels + kChannelGroup - 1) / kChannelGroup * kChannelGroup;
}

ATLAS_INLINE Lanes activated(Lanes x, Activation activation) {
    if (activation == Activation::Relu) return larger(x, splat(0));
    if (activation == Activation::Gelu) return geluOf(x);
    if (activation == Activation::Silu) return siluOf(x);
    return x;
}

/// A range of the inner dimension that is summed while its weights stay in the nearest cache.
struct InnerRange {
    int row = 0;                   ///< of ProductTask::a
    int first = 0, count = 0;      ///< of its k values
    bool opens = false;            ///< c starts at the bias; otherwise at what it holds
    bool closes = false;           ///< the activation follows
    const float* ahead = nullptr;  ///< weights that the next blocks need: fetched meanwhile
    int aheadStep = 0;             ///< floats of them a k
};

/// Asks for a cache line that will be read soon; never faults.
ATLAS_INLINE void fetchAhead([[maybe_unused]] const float* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#endif
}

/// Rows x Columns lanes of c, starting at row `m` and column `n`.
template <int Rows, int Columns>
ATLAS_INLINE void productBlock(const ProductTask& t, const InnerRange& range, int64_t m, int n,
                               const float* b) {
    Lanes sums[Rows][Columns];
    float* c = t.c + m * t.ldc + n;
    for (int j = 0; j < Columns; ++j) {
        const Lanes bias = t.bias && range.opens ? load(t.bias + n + j * kLanes) : splat(0);
        for (int i = 0; i < Rows; ++i)
            sums[i][j] = range.opens ? bias : load(c + i * t.ldc + j * kLanes);
    }
    const float* a = t.a[range.row] + m * t.lda + range.first;
    for (int k = 0; k < range.count; ++k, b += Columns * kLanes) {
        Lanes w[Columns];
        for (int j = 0; j < Columns; ++j) w[j] = load(b + j * kLanes);
        fetchAhead(range.ahead + k * range.aheadStep);
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
            const Lanes x = splat(a[i * t.lda + k]);
#pragma GCC unroll 2
            for (int j = 0; j < Columns; ++j) sums[i][j] += x * w[j];
        }
    }
    for (int j = 0; j < Columns; ++j)
        for (int i = 0; i < Rows; ++i)
            store(c + i * t.ldc + j * kLanes,
                  range.closes ? activated(sums[i][j], t.activation) : sums[i][j]);
}

template <int Columns, int Rows>
void productRows(const ProductTask& t, const InnerRange& range, int64_t m, int n, const float* b,
                 int64_t rows) {
    if (rows == Rows)
        productBlock<Rows, Columns>(t, range, m, n, b);
    else if constexpr (Rows > 1)
        productRows<Columns, Rows - 1>(t, range, m, n, b, rows);
}

template <int Columns>
void productPanel(const ProductTask& t, int n, const float* b) {
    // Blocks of rows as equal as can be: a short last one would waste the most.
    const int64_t blocks = (t.m + kBlockRows - 1) / kBlockRows;
    const int parts = (t.k + kInnerMost - 1) / kInnerMost;
    for (int r = 0; r < t.rows; ++r)
        for (int p = 0; p < parts; ++p) {
            InnerRange range;
            range.row = r;
            range.first = t.k * p / parts;
            range.count = t.k * (p + 1) / parts - range.first;
            range.opens = r == 0 && p == 0;
            range.closes = r + 1 == t.rows && p + 1 == parts;
            // The following part of the weights lies right behind this one.
            const int64_t size = static_cast<int64_t>(range.count) * Columns * kLanes;
            range.aheadStep = static_cast<int>((Columns * kLanes + blocks - 1) / blocks);
            for (int64_t i = 0; i < blocks; ++i) {
                const int64_t first = t.m * i / blocks, end = t.m * (i + 1) / blocks;
                range.ahead = b + size + i * range.count * range.aheadStep;
                productRows<Columns, kBlockRows>(t, range, first, n, b, end - first);
            }
            b += size;
        }
}

void product(const ProductTask& t) {
    const float* panel = t.b;
    for (int n = 0; n < t.n; n += kPanel) {
        const int width = t.n - n < kPanel ? t.n - n : kPanel;
        if (width == kPanel)
            productPanel<2>(t, n, panel);
        else
            productPanel<1>(t, n, panel);
        panel += static_cast<int64_t>(width) * t.rows * t.k;
    }
}

/// B^T of F(4, 3) along six values.
ATLAS_INLINE void inputTransform(const Lanes* d, Lanes* out, int step) {
    const Lanes a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1];
    const Lanes c = d[4] - d[2], e = 2.0f * (d[3] - d[1]);
    out[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    out[step] = a + b;
    out[2 * step] = a - b;
    out[3 * step] = c + e;
    out[4 * step] = c - e;
    out[5 * step] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

/// A^T of F(4, 3) along six values.
ATLAS_INLINE void outputTransform(const Lanes* m, Lanes* out, int step) {
    const Lanes p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    out[0] = m[0] + p + r;
    out[step] = q + 2.0f * s;
    out[2 * step] = p + 4.0f * r;
    out[3 * step] = q + 8.0f * s + m[5];
}

void winogradInput(const WinogradTiles& t) {
    constexpr int n = kWinogradInput;
    for (int64_t i = 0; i < t.count; ++i) {
        const int64_t tile = t.first + i;
        const float* corner = t.input + tile / t.tilesPerRow * kWinogradOutput * t.inputRow +
                              tile % t.tilesPerRow * kWinogradOutput * t.channelsIn;
        for (int c = 0; c < t.channelsIn; c += kLanes) {
            Lanes half[n * n];  // columns transformed: half[j * n + i]
            for (int x = 0; x < n; ++x) {
                Lanes d[n];
                for (int y = 0; y < n; ++y)
                    d[y] = load(corner + y * t.inputRow + x * t.channelsIn + c);
                inputTransform(d, half + x, n);
            }
            float* out = t.cells + i * t.channelsIn + c;
            for (int y = 0; y < n; ++y) {
                Lanes row[n];
                inputTransform(half + y * n, row, 1);
                for (int x = 0; x < n; ++x) store(out + (y * n + x) * t.cellStride, row[x]);
            }
        }
    }
}

void winogradOutput(const WinogradTiles& t) {
    constexpr int n = kWinogradInput, m = kWinogradOutput;
    for (int64_t i = 0; i < t.count; ++i) {
        const int64_t tile = t.first + i;
        const int64_t y0 = tile / t.tilesPerRow * m, x0 = tile % t.tilesPerRow * m;
        const int rows = static_cast<int>(t.height - y0 < m ? t.height - y0 : m);
        const int columns = static_cast<int>(t.width - x0 < m ? t.width - x0 : m);
        const int64_t at = x0 * t.channelsOut;
        float* out = t.output + y0 * t.outputRow + at;
        const float* residual = t.residual ? t.residual + y0 * t.residualRow + at : nullptr;
        for (int c = 0; c < t.channelsOut; c += kLanes) {
            const float* cells = t.cells + i * t.channelsOut + c;
            Lanes half[m * n];
            for (int x = 0; x < n; ++x) {
                Lanes d[n];
                for (int y = 0; y < n; ++y) d[y] = load(cells + (y * n + x) * t.cellStride);
                outputTransform(d, half + x, n);
            }
            const Lanes bias = load(t.bias + c);
            for (int y = 0; y < rows; ++y) {
                Lanes row[m];
                outputTransform(half + y * n, row, 1);
                for (int x = 0; x < columns; ++x) {
                    const int64_t pixel = static_cast<int64_t>(x) * t.channelsOut + c;
                    Lanes value = activated(row[x] + bias, t.activation);
                    if (residual) value += load(residual + y * t.residualRow + pixel);
                    store(out + y * t.outputRow + pixel, value);
                }
            }
        }
    }
}

/// Mean and 1 / standard deviation of `channels` values that are padded with zeros to `whole`.
struct Moments {
    float mean, scale;
};
ATLAS_INLINE Moments momentsOf(const float* x, int channels, int whole, float eps) {
    const float inverse = 1.0f / static_cast<float>(channels);
    Lanes total = splat(0);
    for (int c = 0; c < whole; c += kLanes) total += load(x + c);
    const float mean = sum(total) * inverse;
    Lanes squares = splat(0);
    for (int c = 0; c < whole; c += kLanes) {
        const Lanes d = load(x + c) - splat(mean);
        squares += d * d;
    }
    // Each padded channel added mean^2.
    const float variance =
        (sum(squares) - static_cast<float>(whole - channels) * mean * mean) * inverse;
    return {mean, 1.0f / __builtin_sqrtf((variance > 0 ? variance : 0) + eps)};
}

void layerNorm(float* x, int64_t pixels, int channels, const float* gamma, const float* beta,
               float eps) {
    const int whole = padded(channels);
    for (int64_t i = 0; i < pixels; ++i, x += whole) {
        const Moments m = momentsOf(x, channels, whole, eps);
        for (int c = 0; c < whole; c += kLanes)
            store(x + c, (load(x + c) - splat(m.mean)) * splat(m.scale) * load(gamma + c) +
                             load(beta + c));
    }
}

void normalise(const float* x, int64_t stride, float* out, int64_t outStride, int64_t rows,
               int channels, float eps) {
    const int whole = padded(channels);
    for (int64_t i = 0; i < rows; ++i, x += stride, out += outStride) {
        const Moments m = momentsOf(x, channels, whole, eps);
        for (int c = 0; c < whole; c += kLanes)
            store(out + c, (load(x + c) - splat(m.mean)) * splat(m.scale));
        for (int c = channels; c < whole; ++c) out[c] = 0;
    }
}

void add(const float* x, int64_t xStride, const float* y, int64_t yStride, float* out,
         int64_t outStride, int64_t rows, int64_t width) {
    for (int64_t i = 0; i < rows; ++i, x += xStride, y += yStride, out += outStride)
        for (int64_t c = 0; c < width; c += kLanes) store(out + c, load(x + c) + load(y + c));
}

void maximum(float* out, const float* x, int64_t count) {
    for (int64_t i = 0; i < count; i += kLanes) store(out + i, larger(load(out + i), load(x + i)));
}

/// Keys [count][size] to panels of [size][keys]; missing keys are 0.
void packKeys(const AttentionKeys& keys, int size, float* packed) {
    const int whole = padded(keys.count);
    for (int first = 0; first < whole; first += kPanel) {
        const int width = whole - first < kPanel ? whole - first : kPanel;
        for (int j = 0; j < width; j += kLanes) {
            const int present = keys.count - first - j;
            const float* key = keys.k + (first + j) * keys.stride;
            int i = 0;
            if (present >= kLanes)
                for (; i + kLanes <= size; i += kLanes) {
                    Lanes rows[kLanes];
                    for (int r = 0; r < kLanes; ++r) rows[r] = load(key + r * keys.stride + i);
                    transpose(rows);
                    for (int r = 0; r < kLanes; ++r) store(packed + (i + r) * width + j, rows[r]);
                }
            for (; i < size; ++i)
                for (int r = 0; r < kLanes; ++r)
                    packed[i * width + j + r] = r < present ? key[r * keys.stride + i] : 0;
        }
        packed += size * width;
    }
}

/// Values of all segments [keys][size] to panels of [keys][columns]; missing ones are 0.
void packValues(const AttentionTask& t, int paddedSize, float* packed) {
    for (int first = 0; first < paddedSize; first += kPanel) {
        const int width = paddedSize - first < kPanel ? paddedSize - first : kPanel;
        const int present = t.headSize - first < width ? t.headSize - first : width;
        for (int s = 0; s < t.segments; ++s) {
            const AttentionKeys& keys = t.segment[s];
            const int whole = padded(keys.count);
            for (int j = 0; j < whole; ++j, packed += width) {
                const float* value = keys.v + j * keys.stride + first;
                if (j < keys.count && present == width) {
                    for (int i = 0; i < width; i += kLanes) store(packed + i, load(value + i));
                } else {
                    for (int i = 0; i < width; ++i)
                        packed[i] = j < keys.count && i < present ? value[i] : 0;
                }
            }
        }
    }
}

/// 0 for keys, -infinity elsewhere; false if all are keys.
bool maskKeys(const AttentionTask& t, float* mask) {
    bool any = false;
    for (int s = 0; s < t.segments; ++s) {
        const AttentionKeys& keys = t.segment[s];
        const int whole = padded(keys.count);
        for (int j = 0; j < whole; ++j) {
            const bool isKey = j < keys.count && (!keys.valid || keys.valid[j]);
            *mask++ = isKey ? 0 : -__builtin_inff();
            any = any || !isKey;
        }
    }
    return any;
}

/// Scores to weights that are not divided by their sum yet; returns 1 / sum, or 0 without a key.
float softmaxRow(const AttentionTask& t, float* scores, int keys, const float* mask, int query) {
    Lanes most = splat(-__builtin_inff());
    if (mask)
        for (int j = 0; j < keys; j += kLanes) store(scores + j, load(scores + j) + load(mask + j));
    for (int j = 0; j < keys; j += kLanes) most = larger(most, load(scores + j));
    const float highest = largest(most);
    const bool empty = highest == -__builtin_inff();
    const Lanes scale = splat(t.scale), shift = splat(empty ? 0 : highest);
    float total = 0;
    float parts[kMostKeySegments];
    int j = 0;
    for (int s = 0; s < t.segments; ++s) {
        const int end = j + padded(t.segment[s].count);
        Lanes part = splat(0);
        for (; j < end; j += kLanes) {
            const Lanes weight = expOf((load(scores + j) - shift) * scale);
            store(scores + j, weight);
            part += weight;
        }
        parts[s] = empty ? 0 : sum(part);
        total += parts[s];
    }
    const float inverse = total > 0 ? 1 / total : 0;
    if (t.mass)
        for (int s = 0; s < t.segments; ++s) t.mass[s * t.queries + query] = parts[s] * inverse;
    return inverse;
}

void addReceived(const AttentionTask& t, const float* weights, float inverse) {
    float* received = t.received;
    for (int s = 0; s < t.segments; ++s) {
        for (int j = 0; j < t.segment[s].count; ++j) received[j] += weights[j] * inverse;
        weights += padded(t.segment[s].count);
        received += t.segment[s].count;
    }
}

void attention(const AttentionTask& t) {
    const int size = padded(t.headSize);
    int keys = 0;
    for (int s = 0; s < t.segments; ++s) keys += padded(t.segment[s].count);
    float* packedKeys = t.scratch;
    float* packedValues = packedKeys + static_cast<int64_t>(keys) * size;
    float* mask = packedValues + static_cast<int64_t>(keys) * size;
    float* scores = mask + keys;
    const int64_t scoreStride = keys + kChannelGroup;
    float* results = scores + kAttentionRows * scoreStride;
    float* packed = packedKeys;
    for (int s = 0; s < t.segments; ++s) {
        packKeys(t.segment[s], t.headSize, packed);
        packed += static_cast<int64_t>(t.headSize) * (padded(t.segment[s].count));
    }
    packValues(t, size, packedValues);
    const bool masked = maskKeys(t, mask);
    for (int first = 0; first < t.queries; first += kAttentionRows) {
        const int rows = t.queries - first < kAttentionRows ? t.queries - first : kAttentionRows;
        ProductTask product1;
        product1.a[0] = t.q + first * t.queryStride;
        product1.lda = t.queryStride;
        product1.k = t.headSize;
        product1.b = packedKeys;
        product1.c = scores;
        product1.ldc = scoreStride;
        product1.m = rows;
        for (int s = 0; s < t.segments; ++s) {
            product1.n = padded(t.segment[s].count);
            product(product1);
            product1.b += static_cast<int64_t>(t.headSize) * product1.n;
            product1.c += product1.n;
        }
        float inverse[kAttentionRows];
        for (int i = 0; i < rows; ++i) {
            float* row = scores + i * scoreStride;
            inverse[i] = softmaxRow(t, row, keys, masked ? mask : nullptr, first + i);
            if (t.received && (!t.validQuery || t.validQuery[first + i]))
                addReceived(t, row, inverse[i]);
        }
        ProductTask product2;
        product2.a[0] = scores;
        product2.lda = scoreStride;
        product2.k = keys;
        product2.b = packedValues;
        product2.c = results;
        product2.ldc = size;
        product2.m = rows;
        product2.n = size;
        product(product2);
        for (int i = 0; i < rows; ++i) {
            float* out = t.out + (first + i) * t.outStride;
            const float* from = results + i * size;
            if (t.headSize == size) {
                for (int c = 0; c < size; c += kLanes)
                    store(out + c, load(from + c) * splat(inverse[i]));
            } else {
                for (int c = 0; c < t.headSize; ++c) out[c] = from[c] * inverse[i];
            }
        }
    }
}

void normaliseTwice(const MemoryTask& t) {
    const int whole = padded(t.slots);
    float* most = t.scratch;
    float* share = most + whole;
    for (int c = 0; c < whole; ++c) most[c] = -3e38f;
    for (int c = 0; c < whole; ++c) share[c] = 0;
    for (int64_t n = 0; n < t.tokens; ++n)
        if (!t.valid || t.valid[n]) maximum(most, t.scores + n * t.stride, whole);
    for (int64_t n = 0; n < t.tokens; ++n) {
        float* row = t.scores + n * t.stride;
        const bool taken = !t.valid || t.valid[n];
        for (int c = 0; c < whole; c += kLanes) {
            const Lanes e = taken ? expOf(load(row + c) - load(most + c)) : splat(0);
            store(row + c, e);
            store(share + c, load(share + c) + e);
        }
    }
    for (int c = 0; c < whole; ++c) share[c] = c < t.slots && share[c] > 0 ? 1 / share[c] : 0;
    for (int64_t n = 0; n < t.tokens; ++n) {
        float* row = t.scores + n * t.stride;
        Lanes all = splat(0);
        for (int c = 0; c < whole; c += kLanes) {
            const Lanes part = load(row + c) * load(share + c);
            store(row + c, part);
            all += part;
        }
        const float taken = sum(all);
        if (t.received) t.received[n] = taken;
        const Lanes scale = splat(1 / (taken + 1e-9f));
        for (int c = 0; c < whole; c += kLanes) store(row + c, load(row + c) * scale);
    }
}

}  // namespace atlas::engine::ATLAS_ISA

/// What the .cpp that includes this file defines.
#define ATLAS_KERNEL_TABLE(NAME)                                                                   \
    {                                                                                              \
        NAME, ATLAS_ISA::kPanel, ATLAS_ISA::product, ATLAS_ISA::winogradInput,                     \
            ATLAS_ISA::winogradOutput, ATLAS_ISA::layerNorm, ATLAS_ISA::normalise, ATLAS_ISA::add, \
            ATLAS_ISA::maximum, ATLAS_ISA::attention, ATLAS_ISA::normaliseTwice                    \
    }
