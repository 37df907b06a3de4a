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
inline constexpr int kCacheLine = 16;             // floats
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

template <Activation Kind>
ATLAS_INLINE void activateRows(float* c, int64_t stride, int rows, int columns) {
    for (int i = 0; i < rows; ++i, c += stride)
        for (int j = 0; j < columns; j += kLanes) store(c + j, activated(load(c + j), Kind));
}

void activateBlock(float* c, int64_t stride, int rows, int columns, Activation activation) {
    if (activation == Activation::Relu)
        activateRows<Activation::Relu>(c, stride, rows, columns);
    else if (activation == Activation::Gelu)
        activateRows<Activation::Gelu>(c, stride, rows, columns);
    else if (activation == Activation::Silu)
        activateRows<Activation::Silu>(c, stride, rows, columns);
}

/// Rows x Columns lanes of c, starting at row `m` and column `n`.
template <int Rows, int Columns>
ATLAS_INLINE void productBlock(const ProductTask& t, const InnerRange& range, int64_t m, int n,
                               const float* b) {
    // Every index of `sums` is a constant, so that it lives in registers from beginning to end.
    Lanes sums[Rows][Columns];
    float* c = t.c + m * t.ldc + n;
    if (range.opens) {
#pragma GCC unroll 2
        for (int j = 0; j < Columns; ++j) {
            const Lanes bias = t.bias ? load(t.bias + n + j * kLanes) : splat(0);
#pragma GCC unroll 16
            for (int i = 0; i < Rows; ++i) sums[i][j] = bias;
        }
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
            for (int j = 0; j < Columns; ++j) sums[i][j] = load(c + i * t.ldc + j * kLanes);
    }
    const bool joins = range.closes && t.total;
    float* total = joins ? t.total + m * t.totalStride + n : nullptr;
    if (joins)
        for (int i = 0; i < Rows; ++i)
            for (int j = 0; j < Columns * kLanes; j += kCacheLine)
                fetchAhead(total + i * t.totalStride + j);
    // Five rows are reached from each of three pointers, so that addresses need few registers.
    const int64_t step = t.lda * static_cast<int64_t>(sizeof(float));
    const char* row0 = reinterpret_cast<const char*>(t.a[range.row] + m * t.lda + range.first);
    const char* row5 = row0 + 5 * step;
    const char* row10 = row0 + 10 * step;
    const int64_t three = 3 * step;
    const float* ahead = range.ahead;
#pragma GCC unroll 2
    for (int k = 0; k < range.count; ++k, b += Columns * kLanes) {
        Lanes w[Columns];
#pragma GCC unroll 2
        for (int j = 0; j < Columns; ++j) w[j] = load(b + j * kLanes);
        fetchAhead(ahead);
        ahead += range.aheadStep;
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
            const char* from = i < 5 ? row0 : i < 10 ? row5 : row10;
            const int line = i % 5;
            const Lanes x =
                splat(*reinterpret_cast<const float*>(from + (line == 3 ? three : line * step)));
#pragma GCC unroll 2
            for (int j = 0; j < Columns; ++j) sums[i][j] += x * w[j];
        }
        row0 += sizeof(float);
        row5 += sizeof(float);
        row10 += sizeof(float);
    }
    if (joins) {
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
            for (int j = 0; j < Columns; ++j) {
                float* to = total + i * t.totalStride + j * kLanes;
                store(to, load(to) + sums[i][j]);
            }
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < Columns; ++j) store(c + i * t.ldc + j * kLanes, sums[i][j]);
    if (range.closes && t.activation != Activation::None)
        activateBlock(c, t.ldc, Rows, Columns * kLanes, t.activation);
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
    if (t.m <= 0) return;
    const int64_t blocks = (t.m + kBlockRows - 1) / kBlockRows;
    const int64_t least = t.m / blocks, larger = t.m % blocks;
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
            for (int64_t i = 0, first = 0; i < blocks; ++i) {
                const int64_t end = first + (i < larger ? least + 1 : least);
                range.ahead = b + size + i * range.count * range.aheadStep;
                productRows<Columns, kBlockRows>(t, range, first, n, b, end - first);
                first = end;
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

/// Some queries of one window and head, one a lane, on their way through all keys.
struct QueryPanel {
    int first = 0, count = 0;
    int width = 0;  ///< count in whole vectors: one or two
};

/// Queries [count][headSize] to [headSize][width], times `scale`; missing ones are 0.
void packQueries(const AttentionTask& t, const QueryPanel& panel, float scale, float* packed) {
    for (int j = 0; j < panel.width; j += kLanes) {
        const int present = panel.count - j;
        const float* query = t.q + (panel.first + j) * t.queryStride;
        int i = 0;
        if (present >= kLanes)
            for (; i + kLanes <= t.headSize; i += kLanes) {
                Lanes rows[kLanes];
                for (int r = 0; r < kLanes; ++r) rows[r] = load(query + r * t.queryStride + i);
                transpose(rows);
                for (int r = 0; r < kLanes; ++r)
                    store(packed + (i + r) * panel.width + j, rows[r] * splat(scale));
            }
        for (; i < t.headSize; ++i)
            for (int r = 0; r < kLanes; ++r)
                packed[i * panel.width + j + r] =
                    r < present ? query[r * t.queryStride + i] * scale : 0;
    }
}

/// Rows of keys or values, [count][headSize], to [count][size]; the rest is 0. They lie far apart,
/// where no processor guesses the next one: it is asked for ahead.
void packHead(const float* from, int64_t stride, int count, int headSize, int size, float* packed) {
    constexpr int kAhead = 12;
    for (int j = 0; j < count; ++j, from += stride, packed += size) {
        for (int i = 0; i < headSize; i += 16) fetchAhead(from + kAhead * stride + i);
        int i = 0;
        for (; i + kLanes <= headSize; i += kLanes) store(packed + i, load(from + i));
        for (; i < size; ++i) packed[i] = i < headSize ? from[i] : 0;
    }
}

/// Scores [keys][width] to weights that are not divided by their sum yet, 0 for masked keys.
/// `inverse` [width] receives 1 / sum.
template <int Columns>
void softmaxOverKeys(const AttentionTask& t, const QueryPanel& panel, float* scores,
                     float* inverse) {
    Lanes most[Columns], total[Columns], part[kMostKeySegments][Columns];
    for (int c = 0; c < Columns; ++c) {
        most[c] = splat(-3e38f);
        total[c] = splat(0);
    }
    const float* score = scores;
    for (int s = 0; s < t.segments; ++s)
        for (int j = 0; j < t.segment[s].count; ++j, score += Columns * kLanes) {
            if (t.segment[s].valid && !t.segment[s].valid[j]) continue;
#pragma GCC unroll 2
            for (int c = 0; c < Columns; ++c) most[c] = larger(most[c], load(score + c * kLanes));
        }
    for (int s = 0; s < t.segments; ++s) {
        Lanes sums[Columns];
        for (int c = 0; c < Columns; ++c) sums[c] = splat(0);
        for (int j = 0; j < t.segment[s].count; ++j, scores += Columns * kLanes) {
            const bool masked = t.segment[s].valid && !t.segment[s].valid[j];
#pragma GCC unroll 2
            for (int c = 0; c < Columns; ++c) {
                const Lanes weight =
                    masked ? splat(0) : exp2Of(load(scores + c * kLanes) - most[c]);
                store(scores + c * kLanes, weight);
                sums[c] += weight;
            }
        }
        for (int c = 0; c < Columns; ++c) {
            part[s][c] = sums[c];
            total[c] += sums[c];
        }
    }
    for (int c = 0; c < Columns; ++c) {
        // The largest weight is 1: a sum is at least that, or nothing was there.
        const Lanes scale = splat(1.0f) / larger(total[c], splat(0.5f));
        store(inverse + c * kLanes, scale);
        if (!t.mass) continue;
        for (int s = 0; s < t.segments; ++s) {
            const Lanes share = part[s][c] * scale;
            for (int i = 0; i < kLanes && c * kLanes + i < panel.count; ++i)
                t.mass[s * t.queries + panel.first + c * kLanes + i] = share[i];
        }
    }
}

/// Adds to [keys][kLanes] what each key receives from the panel's queries, some a lane.
void addReceived(const AttentionTask& t, const QueryPanel& panel, int keys, const float* weights,
                 const float* inverse, float* received) {
    float share[kPanel];
    for (int i = 0; i < panel.width; ++i)
        share[i] =
            i < panel.count && (!t.validQuery || t.validQuery[panel.first + i]) ? inverse[i] : 0;
    for (int j = 0; j < keys; ++j, received += kLanes) {
        Lanes sums = load(received);
        for (int c = 0; c < panel.width; c += kLanes, weights += kLanes)
            sums += load(weights) * load(share + c);
        store(received, sums);
    }
}

/// Some keys: their weights [keys][width] and their values, `stride` floats apart.
struct WeightedValues {
    const float* weights = nullptr;
    int width = 0;
    const float* values = nullptr;
    int64_t stride = 0;
    int keys = 0;
    bool opens = false;  ///< sums start at 0; otherwise at what `out` holds
};

/// out[Rows, Columns] += weights[keys, Rows]^T values[keys, Columns].
template <int Rows, int Columns>
ATLAS_INLINE void valueBlock(const WeightedValues& w, float* out, int64_t outStride) {
    Lanes sums[Rows][Columns];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
        for (int c = 0; c < Columns; ++c)
            sums[i][c] = w.opens ? splat(0) : load(out + i * outStride + c * kLanes);
    const float *weights = w.weights, *values = w.values;
#pragma GCC unroll 2
    for (int j = 0; j < w.keys; ++j, values += w.stride, weights += w.width) {
        Lanes v[Columns];
#pragma GCC unroll 2
        for (int c = 0; c < Columns; ++c) v[c] = load(values + c * kLanes);
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
            const Lanes weight = splat(weights[i]);
#pragma GCC unroll 2
            for (int c = 0; c < Columns; ++c) sums[i][c] += weight * v[c];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
        for (int c = 0; c < Columns; ++c) store(out + i * outStride + c * kLanes, sums[i][c]);
}

template <int Columns, int Rows>
void valueRows(const WeightedValues& w, float* out, int64_t outStride, int rows) {
    if (rows == Rows)
        valueBlock<Rows, Columns>(w, out, outStride);
    else if constexpr (Rows > 1)
        valueRows<Columns, Rows - 1>(w, out, outStride, rows);
}

constexpr int kKeysAtOnce = 128;  // whose weights and values stay in the nearest cache

/// results[queries, size] = weights^T values, by runs of keys. `segment`: rows of whole vectors.
void sumValues(const AttentionKeys* segment, int segments, const QueryPanel& panel,
               const float* weights, int size, float* results) {
    const int blocks = (panel.count + kBlockRows - 1) / kBlockRows;
    WeightedValues w;
    w.width = panel.width;
    w.opens = true;
    for (int s = 0; s < segments; ++s) {
        const AttentionKeys& keys = segment[s];
        const int parts = (keys.count + kKeysAtOnce - 1) / kKeysAtOnce;
        w.stride = keys.stride;
        for (int p = 0; p < parts; ++p) {
            const int from = keys.count * p / parts;
            w.keys = keys.count * (p + 1) / parts - from;
            for (int column = 0; column < size; column += kPanel) {
                w.values = keys.v + from * keys.stride + column;
                for (int i = 0, first = 0; i < blocks; ++i) {
                    const int rows = (panel.count - first) / (blocks - i);
                    w.weights = weights + first;
                    float* out = results + first * size + column;
                    if (size - column > kLanes)
                        valueRows<2, kBlockRows>(w, out, size, rows);
                    else
                        valueRows<1, kBlockRows>(w, out, size, rows);
                    first += rows;
                }
            }
            w.opens = false;
            weights += static_cast<int64_t>(w.keys) * panel.width;
        }
    }
}

void attention(const AttentionTask& t) {
    const int size = padded(t.headSize);
    int keys = 0;
    for (int s = 0; s < t.segments; ++s) keys += t.segment[s].count;
    float* queries = t.scratch;
    float* scores = queries + static_cast<int64_t>(t.headSize) * kPanel;
    float* received = scores + static_cast<int64_t>(keys) * kPanel;
    float* results = received + static_cast<int64_t>(keys) * kLanes;
    float* packed = results + static_cast<int64_t>(size) * kPanel;
    AttentionKeys segment[kMostKeySegments];
    for (int s = 0; s < t.segments; ++s) {
        AttentionKeys& part = segment[s] = t.segment[s];
        // Rows of whole vectors are read in place if they follow each other, or are read but once.
        if ((part.stride == t.headSize || t.queries <= kLanes) && size == t.headSize) continue;
        const int64_t floats = static_cast<int64_t>(part.count) * size;
        packHead(part.k, part.stride, part.count, t.headSize, size, packed);
        packHead(part.v, part.stride, part.count, t.headSize, size, packed + floats);
        part.k = packed;
        part.v = packed + floats;
        part.stride = size;
        packed += 2 * floats;
    }
    if (t.received)
        for (int j = 0; j < keys * kLanes; ++j) received[j] = 0;
    for (QueryPanel panel; panel.first < t.queries; panel.first += kPanel) {
        const int left = t.queries - panel.first;
        panel.count = left < kPanel ? left : kPanel;
        panel.width = left <= kLanes ? kLanes : kPanel;
        packQueries(t, panel, t.scale * 1.44269504088896f, queries);
        ProductTask product1;
        product1.k = t.headSize;
        product1.b = queries;
        product1.c = scores;
        product1.ldc = product1.n = panel.width;
        for (int s = 0; s < t.segments; ++s) {
            product1.a[0] = segment[s].k;
            product1.lda = segment[s].stride;
            product1.m = segment[s].count;
            product(product1);
            product1.c += product1.m * panel.width;
        }
        float inverse[kPanel];
        if (panel.width == kPanel)
            softmaxOverKeys<2>(t, panel, scores, inverse);
        else
            softmaxOverKeys<1>(t, panel, scores, inverse);
        if (t.received) addReceived(t, panel, keys, scores, inverse, received);
        sumValues(segment, t.segments, panel, scores, size, results);
        for (int i = 0; i < panel.count; ++i) {
            float* out = t.out + (panel.first + i) * t.outStride;
            const float* from = results + i * size;
            int c = 0;
            for (; c + kLanes <= t.headSize; c += kLanes)
                store(out + c, load(from + c) * splat(inverse[i]));
            for (; c < t.headSize; ++c) out[c] = from[c] * inverse[i];
        }
    }
    if (t.received)
        for (int j = 0; j < keys; ++j) t.received[j] += sum(load(received + j * kLanes));
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
