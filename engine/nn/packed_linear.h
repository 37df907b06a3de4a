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
    /// As apply(), on all threads, rows side by side: [rows, in] to [rows, out].
    void applyOnAllThreads(const CpuKernels& kernels, const float* x, float* to, int64_t rows,
                           Activation activation = Activation::None) const;

  private:
    ProductTask task(const float* x, int64_t stride, float* to, int64_t toStride,
                     int64_t rows) const;
    void run(const CpuKernels& kernels, ProductTask task) const;
};

/// Rows whose hidden layer of `width` values stays in a thread's cache: whole blocks of the
/// kernels.
int64_t rowsInCache(int64_t width);

/// Equal runs of rows, each of at most `most`, as many for every thread.
void eachRows(int64_t rows, int64_t most,
              const std::function<void(int64_t first, int64_t count)>& work);

}  // namespace atlas::engine
