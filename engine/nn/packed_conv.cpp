// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/packed_conv.h"

#include <ATen/Parallel.h>

#include <array>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {

PackedConv::PackedConv(const ConvNorm& conv, int64_t storedIn, const CpuKernels& kernels)
    : in(storedIn), out(paddedChannels(conv.weight.size(0))), stride(conv.stride) {
    const at::Tensor weight = conv.weight.to(at::kFloat).contiguous();
    const float* w = weight.const_data_ptr<float>();
    const int64_t co = weight.size(0), ci = weight.size(1);
    bias.assign(static_cast<size_t>(out), 0);
    if (conv.bias.defined()) {
        const at::Tensor b = conv.bias.to(at::kFloat).contiguous();
        std::copy_n(b.const_data_ptr<float>(), co, bias.begin());
    }
    const auto at = [&](std::vector<float>& matrix, int64_t row, int64_t column) -> float& {
        return matrix[static_cast<size_t>(row * out + column)];
    };
    if (stride == 1) {
        std::array<std::vector<float>, kWinogradCells> plain;
        for (auto& m : plain) m.assign(static_cast<size_t>(in * out), 0);
        double values[kWinogradCells];
        for (int64_t o = 0; o < co; ++o)
            for (int64_t i = 0; i < ci; ++i) {
                winogradWeights(w + (o * ci + i) * 9, values);
                for (size_t c = 0; c < kWinogradCells; ++c)
                    at(plain[c], i, o) = static_cast<float>(values[c]);
            }
        for (const auto& m : plain) {
            const auto packed = packPanels(m.data(), in, static_cast<int>(out), kernels.panel);
            cells.insert(cells.end(), packed.begin(), packed.end());
        }
    } else {
        std::vector<float> plain(static_cast<size_t>(9 * in * out), 0);
        for (int64_t o = 0; o < co; ++o)
            for (int64_t i = 0; i < ci; ++i)
                for (int64_t y = 0; y < 3; ++y)
                    for (int64_t x = 0; x < 3; ++x)
                        at(plain, (y * 3 + x) * in + i, o) = w[(o * ci + i) * 9 + 3 * y + x];
        lines = packPanels(plain.data(), 9 * in, static_cast<int>(out), kernels.panel);
    }
    const at::Tensor padded = at::zeros({out, in, 3, 3}, weight.options());
    padded.slice(0, 0, co).slice(1, 0, ci).copy_(weight);
    bf16Weight = padded.to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
}

/// How many blocks of about `sized` tiles make the same work for every thread.
int64_t evenBlocks(int64_t tiles, int64_t sized) {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    int64_t rounds = std::max<int64_t>(1, (2 * tiles + sized * threads) / (2 * sized * threads));
    const int64_t most = sized + sized / 7;
    while (tiles > rounds * threads * most) ++rounds;
    return std::min(tiles, rounds * threads);
}

void convolveTiles(const CpuKernels& kernels, const PackedConv& conv, WinogradTiles task,
                   const std::function<bool(const WinogradTiles&)>& wanted) {
    task.channelsIn = static_cast<int>(conv.in);
    task.channelsOut = static_cast<int>(conv.out);
    task.tilesPerRow = static_cast<int>((task.width + kWinogradOutput - 1) / kWinogradOutput);
    task.bias = conv.bias.data();
    const int64_t tileRows = (task.height + kWinogradOutput - 1) / kWinogradOutput;
    const int64_t tiles = tileRows * task.tilesPerRow;
    const int64_t wide = std::max(conv.in, conv.out);
    const int64_t sized = wide >= 128 ? 42 : 28;  // measured; multiples of the kernels' 14 rows
    const int64_t blocks = evenBlocks(tiles, sized);
    const int64_t most = (tiles + blocks - 1) / blocks;
    at::parallel_for(0, blocks, 1, [&](int64_t from, int64_t to) {
        // An odd stride of cache lines: 36 streams must not fall on the same sets.
        const int64_t stride = most * wide + kChannelGroup;
        float* scratch = threadScratch((kWinogradCells + 1) * stride);
        for (int64_t b = from; b < to; ++b) {
            WinogradTiles t = task;
            t.first = tiles * b / blocks;
            t.count = tiles * (b + 1) / blocks - t.first;
            if (wanted && !wanted(t)) continue;
            // Each product goes where the cell before it was: half the cache is enough.
            t.cells = scratch + stride;
            t.cellStride = stride;
            kernels.winogradInput(t);
            for (int c = 0; c < kWinogradCells; ++c) {
                ProductTask product;
                product.a[0] = scratch + (c + 1) * stride;
                product.lda = conv.in;
                product.k = static_cast<int>(conv.in);
                product.b = conv.cells.data() + c * conv.in * conv.out;
                product.c = scratch + c * stride;
                product.ldc = conv.out;
                product.m = t.count;
                product.n = static_cast<int>(conv.out);
                kernels.product(product);
            }
            t.cells = scratch;
            kernels.winogradOutput(t);
        }
    });
}

PackedNorm::PackedNorm(const LayerNorm& norm)
    : channels(static_cast<int>(norm.weight.size(0))), eps(static_cast<float>(norm.eps)) {
    const auto copy = [&](const at::Tensor& t, std::vector<float>& into) {
        const at::Tensor plain = t.to(at::kFloat).contiguous();
        into.assign(static_cast<size_t>(paddedChannels(channels)), 0);
        std::copy_n(plain.const_data_ptr<float>(), channels, into.begin());
    };
    copy(norm.weight, gamma);
    copy(norm.bias, beta);
}

}  // namespace atlas::engine
