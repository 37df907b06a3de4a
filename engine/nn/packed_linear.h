// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/layers.h"

namespace atlas::engine {

/// A linear layer packed for the processor's kernels. A LayerNorm in front of it is multiplied
/// into it: what it reads is then normalised without scale and shift.
struct PackedLinear {
    int64_t in = 0;   ///< values read of each row
    int64_t out = 0;  ///< padded: columns written
    std::vector<float> weights, bias;
    std::vector<uint16_t> pairs;  ///< in place of `weights`: in bfloat16

    /// `sections`: the outputs are so many equal parts, each padded on its own. `bf16`: weights and
    /// what is read are rounded to bfloat16, where the kernels can do that.
    static PackedLinear pack(const Linear& layer, const LayerNorm* before,
                             const CpuKernels& kernels, int64_t sections = 1, bool bf16 = false);

    /// out[rows] = activation(x[rows] W^T + bias).
    void apply(const CpuKernels& kernels, const float* x, int64_t stride, float* to,
               int64_t toStride, int64_t rows, Activation activation = Activation::None) const;
    /// total[rows] += x[rows] W^T + bias. `between`: [rows], written on the way.
    void add(const CpuKernels& kernels, const float* x, int64_t stride, float* between,
             int64_t betweenStride, float* total, int64_t totalStride, int64_t rows) const;
    /// Rows that a layer reads.
    struct Rows {
        const float* x = nullptr;
        int64_t stride = 0, count = 0;
        int64_t parts = 1;  ///< runs of rows for threads of their own, at most `count`
        const uint16_t* tiles = nullptr;  ///< the same by packRowsBf16(), where `pairs` are used
    };
    /// Pieces of a product that threads can take one by one, those of a part after each other.
    int64_t pieces(const Rows& rows) const;
    /// Like apply() and add(), one piece.
    void applyPiece(int64_t piece, const CpuKernels& kernels, const Rows& rows, float* to,
                    int64_t toStride, Activation activation = Activation::None) const;
    void addPiece(int64_t piece, const CpuKernels& kernels, const Rows& rows, float* between,
                  int64_t betweenStride, float* total, int64_t totalStride) const;
    /// As apply(), on all threads, rows side by side: [rows, in] to [rows, out].
    void applyOnAllThreads(const CpuKernels& kernels, const float* x, float* to, int64_t rows,
                           Activation activation = Activation::None) const;

  private:
    ProductTask task(const Rows& rows, float* to, int64_t toStride) const;
    ProductTask pieceOf(ProductTask task, const Rows& rows, int64_t piece) const;
    void run(const CpuKernels& kernels, ProductTask task) const;
};

/// Rows whose hidden layer of `width` values stays in a thread's cache: whole blocks of the
/// kernels.
int64_t rowsInCache(int64_t width);

/// Equal runs of rows, each of at most `most`, as many for every thread.
void eachRows(int64_t rows, int64_t most,
              const std::function<void(int64_t first, int64_t count)>& work);

}  // namespace atlas::engine
