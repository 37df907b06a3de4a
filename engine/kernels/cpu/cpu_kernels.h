// SPDX-License-Identifier: Apache-2.0
// Inner loops of the processor path, compiled once for every instruction set and chosen at run
// time. Plain pointers, no LibTorch, one thread: whoever calls them splits the work.
//
// Maps are NHWC float32, channels padded to a multiple of kChannelGroup with zeros. Weights are
// packed by packPanels() for the table that will read them.
// Winograd: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3).
#pragma once

#include <cstdint>
#include <vector>

namespace atlas::engine {

inline constexpr int kChannelGroup = 16;
inline constexpr int kWinogradOutput = 4;                   ///< outputs along a tile's side
inline constexpr int kWinogradInput = kWinogradOutput + 2;  ///< inputs along a tile's side
inline constexpr int kWinogradCells = kWinogradInput * kWinogradInput;

inline int paddedChannels(int64_t channels) {
    return static_cast<int>((channels + kChannelGroup - 1) / kChannelGroup * kChannelGroup);
}

enum class Activation { None, Relu, Gelu, Silu };

/// c[m, n] = act(bias[n] + sum over r < rows, i < k of a[r][m * lda + i] * b[r, i, n]).
/// With lda below k the rows of `a` overlap: that is a convolution along a line.
struct ProductTask {
    const float* a[3] = {};
    int rows = 1;
    int64_t lda = 0;
    int k = 0;
    const float* b = nullptr;  ///< packed, [rows * k, n]
    float* c = nullptr;
    int64_t ldc = 0;
    int64_t m = 0;
    int n = 0;                    ///< a multiple of kChannelGroup
    const float* bias = nullptr;  ///< [n] or null
    Activation activation = Activation::None;
    /// [m, n]: the result, which has no activation, is added to it; c holds what is between.
    float* total = nullptr;
    int64_t totalStride = 0;
    // Of CpuKernels::productBf16, in place of `b`; with one row of `a` that does not overlap:
    const uint16_t* pairs = nullptr;  ///< by packPairs()
    const uint16_t* tiles = nullptr;  ///< rows of `a` by packRowsBf16(), on a cache line
};

/// The line of tiles that a Winograd call works on.
struct WinogradTiles {
    const float* input = nullptr;  ///< pixel (-1, -1) of the first tile row
    int64_t inputRow = 0;          ///< floats from a row to the next
    float* output = nullptr;       ///< pixel (0, 0) of the first tile row
    int64_t outputRow = 0;
    const float* residual = nullptr;  ///< added to the output, laid out like it; or null
    int64_t residualRow = 0;
    int channelsIn = 0, channelsOut = 0;  ///< padded
    int tilesPerRow = 0;
    int64_t first = 0, count = 0;   ///< tiles, row by row
    int64_t height = 0, width = 0;  ///< output pixels that exist
    const float* bias = nullptr;
    Activation activation = Activation::None;
    float* cells = nullptr;  ///< transformed input or output, [kWinogradCells][stride]
    int64_t cellStride = 0;
};

/// Keys and values of one window for one head; rows are `stride` floats apart.
struct AttentionKeys {
    const float* k = nullptr;
    const float* v = nullptr;
    int64_t stride = 0;
    int count = 0;
    const uint8_t* valid = nullptr;  ///< [count], 0 = not a key; null: all
};

inline constexpr int kMostKeySegments = 12;

/// One window and head: softmax over the keys of all segments at once (spec 5.3). A query
/// without a valid key gives 0.
struct AttentionTask {
    const float* q = nullptr;
    int64_t queryStride = 0;
    int queries = 0, headSize = 0;
    float scale = 1;
    int segments = 0;
    AttentionKeys segment[kMostKeySegments];
    float* out = nullptr;
    int64_t outStride = 0;
    float* mass = nullptr;      ///< [segments][queries], each one's share of the softmax; or null
    float* received = nullptr;  ///< [keys of all segments]: weight summed over queries; or null
    const uint8_t* validQuery = nullptr;  ///< [queries], for `received`; null: all
    float* scratch = nullptr;             ///< attentionScratch() floats, on a cache line
};
inline constexpr int kAttentionQueries = 32;  ///< whose scores are held at once, at most
int64_t attentionScratch(const AttentionTask& task);

/// Scores of one window's tokens at the slots of a memory, for one head, in place
/// (external_attention.h): every slot's softmax over the tokens, then every token's share.
struct MemoryTask {
    /// [tokens][stride]; columns from `slots` to the group's end become 0.
    float* scores = nullptr;
    int64_t stride = 0, tokens = 0;
    int slots = 0;
    const uint8_t* valid = nullptr;  ///< [tokens], 0 = all its shares become 0; null: all
    float* received = nullptr;       ///< [tokens]: what the slots take of each; or null
    float* scratch = nullptr;        ///< twice the padded slots, on a cache line
};

struct CpuKernels {
    const char* name;
    int panel;  ///< columns of a packed panel
    void (*product)(const ProductTask& task);
    /// tiles.cells[cell][tile][channelsIn] from tiles.input.
    void (*winogradInput)(const WinogradTiles& tiles);
    /// tiles.output from tiles.cells[cell][tile][channelsOut].
    void (*winogradOutput)(const WinogradTiles& tiles);
    /// LayerNorm over `channels` of each pixel, in place; padded channels stay 0.
    void (*layerNorm)(float* x, int64_t pixels, int channels, const float* gamma, const float* beta,
                      float eps);
    /// LayerNorm without scale and shift, from one place to another (spec 5; they are folded into
    /// the layer that follows). Padded channels become 0.
    void (*normalise)(const float* x, int64_t stride, float* out, int64_t outStride, int64_t rows,
                      int channels, float eps);
    /// out = x + y over rows of `width` floats (a multiple of kChannelGroup).
    void (*add)(const float* x, int64_t xStride, const float* y, int64_t yStride, float* out,
                int64_t outStride, int64_t rows, int64_t width);
    /// out = max(out, x) over `count` floats (a multiple of kChannelGroup).
    void (*maximum)(float* out, const float* x, int64_t count);
    void (*attention)(const AttentionTask& task);
    void (*normaliseTwice)(const MemoryTask& task);
    /// As product(), both factors rounded to bfloat16, sums in float32. Null where the processor
    /// has no instructions for it.
    void (*productBf16)(const ProductTask& task) = nullptr;
    /// [rows, k] to what productBf16() reads, one row of tiles after the
    /// other. `tiles` has bf16Floats(rows, k).
    void (*packRowsBf16)(const float* x, int64_t stride, int64_t rows, int k,
                         uint16_t* tiles) = nullptr;
};

/// The best table for this processor. ATLASSCOPE_ISA=portable|avx2|avx512|amx asks for another one.
const CpuKernels& cpuKernels();
/// Every table that this processor can run, the portable one first.
std::vector<const CpuKernels*> usableCpuKernels();

/// [k, n] row-major to panels of `panel` columns, each [k, width of the panel].
std::vector<float> packPanels(const float* weights, int64_t k, int n, int panel);

/// [k, n] row-major to bfloat16, rounded to even: panels of 32 columns (the last may have 16), each
/// [k / 32][1 or 2 tiles][16 pairs of rows][16 columns][2].
std::vector<uint16_t> packPairs(const float* weights, int64_t k, int n);
inline constexpr int kBf16Rows = 16;   ///< of a tile
inline constexpr int kBf16Inner = 32;  ///< values of the inner dimension in it
/// Memory of packRowsBf16(), in floats. Rows from a multiple of 2 * kBf16Rows on may be packed on
/// their own, behind bf16Floats() of those before them.
int64_t bf16Floats(int64_t rows, int64_t k);

/// One of the 36 cells of G w G^T for a 3x3 kernel (row-major) of one channel pair, in double.
void winogradWeights(const float* kernel, double* cells);

}  // namespace atlas::engine
