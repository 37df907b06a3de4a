// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/packed_linear.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {
namespace {

constexpr int64_t kHiddenFloats = 1 << 18;  // of a hidden layer, a thread
constexpr int64_t kRowsOfABlock = 14;       // of the kernels
constexpr int64_t kMostRows = 8 * kRowsOfABlock;
constexpr int64_t kPieceColumns = 64;  // whole panels of every instruction set

int64_t parts(int64_t whole, int64_t most) {
    return (whole + most - 1) / most;
}

}  // namespace

PackedLinear PackedLinear::pack(const Linear& layer, const LayerNorm* before,
                                const CpuKernels& kernels, int64_t sections, bool bf16) {
    PackedLinear packed;
    at::Tensor weight = layer.weight.to(at::kCPU, at::kDouble);
    const int64_t outputs = weight.size(0), part = outputs / sections;
    at::Tensor bias = layer.bias.defined() ? layer.bias.to(at::kCPU, at::kDouble)
                                           : at::zeros({outputs}, weight.options());
    if (before) {
        bias = bias + at::matmul(weight, before->bias.to(at::kCPU, at::kDouble));
        weight = weight * before->weight.to(at::kCPU, at::kDouble);
    }
    const int64_t padded = paddedChannels(part);
    packed.in = weight.size(1);
    packed.out = padded * sections;
    const auto options = at::TensorOptions().dtype(at::kFloat);
    const at::Tensor matrix = at::zeros({packed.in, sections, padded}, options);
    matrix.slice(2, 0, part)
        .copy_(weight.transpose(0, 1).reshape({packed.in, sections, part}).to(at::kFloat));
    const at::Tensor shifts = at::zeros({sections, padded}, options);
    shifts.slice(1, 0, part).copy_(bias.reshape({sections, part}).to(at::kFloat));
    const float* values = matrix.const_data_ptr<float>();
    const auto columns = static_cast<int>(packed.out);
    if (bf16 && kernels.productBf16)
        packed.pairs = packPairs(values, packed.in, columns);
    else
        packed.weights = packPanels(values, packed.in, columns, kernels.panel);
    const float* first = shifts.const_data_ptr<float>();
    packed.bias.assign(first, first + packed.out);
    return packed;
}

ProductTask PackedLinear::task(const Rows& rows, float* to, int64_t toStride) const {
    ProductTask task;
    task.a[0] = rows.x;
    task.lda = rows.stride;
    task.k = static_cast<int>(in);
    task.b = weights.data();
    task.pairs = pairs.data();
    task.tiles = rows.tiles;
    task.c = to;
    task.ldc = toStride;
    task.m = rows.count;
    task.n = static_cast<int>(out);
    task.bias = bias.data();
    return task;
}

void PackedLinear::run(const CpuKernels& kernels, ProductTask task) const {
    if (pairs.empty()) return kernels.product(task);
    if (task.tiles) return kernels.productBf16(task);
    thread_local AlignedFloats scratch;  // callers use threadScratch() themselves
    scratch.atLeast(bf16Floats(task.m, in));
    auto* tiles = reinterpret_cast<uint16_t*>(scratch.data());
    kernels.packRowsBf16(task.a[0], task.lda, task.m, task.k, tiles);
    task.tiles = tiles;
    kernels.productBf16(task);
}

void PackedLinear::apply(const CpuKernels& kernels, const float* x, int64_t stride, float* to,
                         int64_t toStride, int64_t rows, Activation activation) const {
    ProductTask product = task({x, stride, rows}, to, toStride);
    product.activation = activation;
    run(kernels, product);
}

void PackedLinear::add(const CpuKernels& kernels, const float* x, int64_t stride, float* between,
                       int64_t betweenStride, float* total, int64_t totalStride,
                       int64_t rows) const {
    ProductTask product = task({x, stride, rows}, between, betweenStride);
    product.total = total;
    product.totalStride = totalStride;
    run(kernels, product);
}

int64_t PackedLinear::pieces(const Rows& rows) const {
    return parts(out, kPieceColumns) * rows.parts;
}

ProductTask PackedLinear::pieceOf(ProductTask task, const Rows& rows, int64_t piece) const {
    const int64_t columns = parts(out, kPieceColumns);
    const int64_t part = piece / columns, column = piece % columns * kPieceColumns;
    const int64_t unit = rows.tiles ? 2 * kBf16Rows : 1, units = parts(rows.count, unit);
    const int64_t first = std::min(rows.count, units * part / rows.parts * unit);
    task.m = std::min(rows.count, units * (part + 1) / rows.parts * unit) - first;
    task.a[0] += first * task.lda;
    if (rows.tiles) {
        task.tiles += 2 * bf16Floats(first, in);
        task.pairs += column * parts(in, kBf16Inner) * kBf16Inner;
    } else {
        task.b += column * in;
    }
    task.c += first * task.ldc + column;
    if (task.total) task.total += first * task.totalStride + column;
    task.bias += column;
    task.n = static_cast<int>(std::min(kPieceColumns, out - column));
    return task;
}

void PackedLinear::applyPiece(int64_t piece, const CpuKernels& kernels, const Rows& rows, float* to,
                              int64_t toStride, Activation activation) const {
    ProductTask product = task(rows, to, toStride);
    product.activation = activation;
    run(kernels, pieceOf(product, rows, piece));
}

void PackedLinear::addPiece(int64_t piece, const CpuKernels& kernels, const Rows& rows,
                            float* between, int64_t betweenStride, float* total,
                            int64_t totalStride) const {
    ProductTask product = task(rows, between, betweenStride);
    product.total = total;
    product.totalStride = totalStride;
    run(kernels, pieceOf(product, rows, piece));
}

void PackedLinear::applyOnAllThreads(const CpuKernels& kernels, const float* x, float* to,
                                     int64_t rows, Activation activation) const {
    eachRows(rows, kMostRows, [&](int64_t first, int64_t count) {
        apply(kernels, x + first * in, in, to + first * out, out, count, activation);
    });
}

int64_t rowsInCache(int64_t width) {
    return std::clamp<int64_t>(kHiddenFloats / width / kRowsOfABlock * kRowsOfABlock,
                               2 * kRowsOfABlock, kMostRows);
}

void eachRows(int64_t rows, int64_t most,
              const std::function<void(int64_t first, int64_t count)>& work) {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    // A little more than `most` is better than one part more, or than reading the weights twice.
    int64_t parts = std::max<int64_t>(1, (rows + most - most / kRowsOfABlock - 1) / most);
    if (4 * rows <= 5 * most * threads) parts = 1;
    parts = std::min(rows, (parts + threads - 1) / threads * threads);
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t first = rows * i / parts;
            work(first, rows * (i + 1) / parts - first);
        }
    });
}

}  // namespace atlas::engine
