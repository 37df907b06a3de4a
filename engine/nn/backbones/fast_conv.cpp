// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/fast_conv.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {
namespace {

constexpr int64_t kMostTiledWeights = 1 << 16;  // channels in times out

at::Tensor emptyMap(const at::Tensor& like, int64_t channels) {
    return at::empty({like.size(0), channels, like.size(2), like.size(3)}, like.options(),
                     at::MemoryFormat::ChannelsLast);
}

}  // namespace

std::shared_ptr<const FastConv> FastConv::make(const at::Tensor& weight, const at::Tensor& bias,
                                               int64_t stride, int64_t groups) {
    const int64_t out = weight.size(0), in = weight.size(1), kernel = weight.size(2);
    if (stride != 1 || groups != 1 || in % kChannelGroup != 0 || out % kChannelGroup != 0 ||
        !weight.device().is_cpu() || weight.scalar_type() != at::kFloat)
        return nullptr;
    const auto conv = std::make_shared<FastConv>();
    if (kernel == 1) {
        conv->product_ = PackedLinear::pack({weight.view({out, in}), bias}, nullptr, cpuKernels());
    } else if (kernel == 3 && in * out <= kMostTiledWeights) {
        ConvNorm plain;
        plain.weight = weight;
        plain.bias = bias;
        conv->tiles_.emplace(plain, in, cpuKernels());
    } else {
        return nullptr;
    }
    return conv;
}

at::Tensor FastConv::operator()(const at::Tensor& x, Activation activation) const {
    const at::Tensor map = x.contiguous(at::MemoryFormat::ChannelsLast);
    return product_ ? multiplied(map, activation) : tiled(map, activation);
}

at::Tensor FastConv::multiplied(const at::Tensor& x, Activation activation) const {
    const at::Tensor y = emptyMap(x, product_->out);
    product_->applyOnAllThreads(cpuKernels(), x.const_data_ptr<float>(), y.data_ptr<float>(),
                                x.size(0) * x.size(2) * x.size(3), activation);
    return y;
}

at::Tensor FastConv::tiled(const at::Tensor& x, Activation activation) const {
    const at::Tensor y = emptyMap(x, tiles_->out);
    const int64_t height = x.size(2), width = x.size(3), in = tiles_->in;
    // Whole tiles with the border around, zeros where the map ends.
    const auto whole = [](int64_t n) {
        return (n + kWinogradOutput - 1) / kWinogradOutput * kWinogradOutput + 2;
    };
    const int64_t tall = whole(height), wide = whole(width);
    AlignedFloats padded(tall * wide * in);
    for (int64_t b = 0; b < x.size(0); ++b) {
        const float* from = x.const_data_ptr<float>() + b * height * width * in;
        at::parallel_for(0, tall, 4, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                float* line = padded.data() + row * wide * in;
                if (row == 0 || row > height) {
                    std::fill_n(line, wide * in, 0.0f);
                    continue;
                }
                std::fill_n(line, in, 0.0f);
                std::copy_n(from + (row - 1) * width * in, width * in, line + in);
                std::fill_n(line + (width + 1) * in, (wide - width - 1) * in, 0.0f);
            }
        });
        WinogradTiles task;
        task.input = padded.data();
        task.inputRow = wide * in;
        task.output = y.data_ptr<float>() + b * height * width * tiles_->out;
        task.outputRow = width * tiles_->out;
        task.height = height;
        task.width = width;
        task.activation = activation;
        convolveTiles(cpuKernels(), *tiles_, task);
    }
    return y;
}

}  // namespace atlas::engine
