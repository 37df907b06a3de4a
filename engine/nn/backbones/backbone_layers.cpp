// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/backbone_layers.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

#include <algorithm>

#include "engine/nn/aligned_floats.h"
#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr double kBatchNormEps = 1e-5;
constexpr int64_t kWeightsAtOnce = 1 << 24;  // formed where maps are asked for

thread_local int plainDepth = 0;

bool fillsLanes(int64_t width) {
    return width % kChannelGroup == 0;
}

/// Values that the processor's kernels may work on, and nobody wants gradients of.
bool kernelsCanRun(const at::Tensor& x) {
    return !PlainAttention::on() && x.device().is_cpu() && x.scalar_type() == at::kFloat &&
           !(at::GradMode::is_enabled() && x.requires_grad());
}

bool canBePacked(const at::Tensor& weight) {
    return kernelsCanRun(weight) && !WeightReader::isAbsent(weight);
}

}  // namespace

BatchNorm BatchNorm::read(WeightReader& reader, const std::string& name, int64_t width) {
    BatchNorm norm{reader.take(name + ".weight", {width}), reader.take(name + ".bias", {width}),
                   reader.take(name + ".running_mean", {width}),
                   reader.take(name + ".running_var", {width})};
    reader.ignore(name + ".num_batches_tracked");
    return norm;
}

at::Tensor BatchNorm::operator()(const at::Tensor& x) const {
    return at::batch_norm(x, weight, bias, mean, variance, false, 0, kBatchNormEps, false);
}

at::Tensor BatchNorm::scale() const {
    return weight / (variance + kBatchNormEps).sqrt();
}

Conv Conv::read(WeightReader& reader, const std::string& name, const Shape& s, bool bias) {
    Conv conv{reader.take(name + ".weight", {s.out, s.in / s.groups, s.kernel, s.kernel}),
              {},
              s.stride,
              s.padding,
              s.groups};
    if (bias) conv.bias = reader.take(name + ".bias", {s.out});
    conv.arrange();
    return conv;
}

void Conv::arrange() {
    if (PlainAttention::on() || WeightReader::isAbsent(weight)) return;
    weight = weight.contiguous(at::MemoryFormat::ChannelsLast);
    fast = FastConv::make(weight, bias, stride, groups);
}

at::Tensor Conv::operator()(const at::Tensor& x, Activation activation) const {
    if (fast && kernelsCanRun(x)) return (*fast)(x, activation);
    at::Tensor y = at::conv2d(x, weight, bias, stride, padding, 1, groups);
    if (norm) y = (*norm)(y);
    return activate(std::move(y), activation);
}

at::Tensor activate(at::Tensor x, Activation activation) {
    switch (activation) {
        case Activation::None:
            return x;
        case Activation::Relu:
            return at::relu_(x);
        case Activation::Gelu:
            return at::gelu_(x);
        case Activation::Silu:
            return at::silu_(x);
    }
    return x;
}

Conv Conv::readWithNorm(WeightReader& reader, const std::string& name, Shape shape) {
    shape.padding = shape.kernel / 2;
    Conv conv{reader.take(name + ".conv.weight",
                          {shape.out, shape.in / shape.groups, shape.kernel, shape.kernel}),
              {},
              shape.stride,
              shape.padding,
              shape.groups};
    const BatchNorm norm = BatchNorm::read(reader, name + ".bn", shape.out);
    if (PlainAttention::on()) conv.norm = norm;
    if (PlainAttention::on() || WeightReader::isAbsent(conv.weight)) return conv;
    conv.weight = conv.weight * norm.scale().view({-1, 1, 1, 1});
    conv.bias = norm.shift();
    conv.arrange();
    return conv;
}

ChannelAffine ChannelAffine::read(WeightReader& reader, const std::string& name, int64_t width) {
    const BatchNorm norm = BatchNorm::read(reader, name, width);
    return {norm.scale().view({1, width, 1, 1}), norm.shift().view({1, width, 1, 1})};
}

Projection Projection::read(WeightReader& reader, const std::string& name, int64_t in, int64_t out,
                            bool bias) {
    Projection layer{Linear::read(reader, name, in, out, bias), nullptr};
    if (fillsLanes(in) && fillsLanes(out) && canBePacked(layer.plain.weight))
        layer.packed =
            std::make_shared<PackedLinear>(PackedLinear::pack(layer.plain, nullptr, cpuKernels()));
    return layer;
}

at::Tensor Projection::operator()(const at::Tensor& x) const {
    if (!packed || !kernelsCanRun(x)) return plain(x);
    const at::Tensor rows = x.contiguous();
    auto sizes = rows.sizes().vec();
    sizes.back() = packed->out;
    const at::Tensor result = at::empty(sizes, rows.options());
    const float* from = rows.const_data_ptr<float>();
    auto* to = result.data_ptr<float>();
    packed->applyOnAllThreads(cpuKernels(), from, to, rows.numel() / packed->in);
    return result;
}

ResidualMlp ResidualMlp::read(WeightReader& reader, const std::string& name, const LayerNorm& norm,
                              int64_t hidden) {
    const int64_t width = norm.weight.size(0);
    ResidualMlp mlp{norm,
                    Linear::read(reader, name + ".fc1", width, hidden),
                    Linear::read(reader, name + ".fc2", hidden, width),
                    {}};
    if (fillsLanes(width) && fillsLanes(hidden) && canBePacked(mlp.fc1.weight)) {
        const CpuKernels& kernels = cpuKernels();
        mlp.packed =
            std::make_shared<Packed>(Packed{PackedLinear::pack(mlp.fc1, &norm, kernels),
                                            PackedLinear::pack(mlp.fc2, nullptr, kernels)});
    }
    return mlp;
}

at::Tensor ResidualMlp::operator()(const at::Tensor& x) const {
    if (!packed || !kernelsCanRun(x)) return x + fc2(at::gelu(fc1(norm(x))));
    const auto& kernels = cpuKernels();
    const at::Tensor rows = x.contiguous();
    const at::Tensor result = at::empty_like(rows);
    const int64_t width = packed->fc1.in, hidden = packed->fc1.out;
    const float* from = rows.const_data_ptr<float>();
    auto* to = result.data_ptr<float>();
    eachRows(rows.numel() / width, rowsInCache(hidden), [&](int64_t first, int64_t count) {
        // Lines of the kernels must not fall on the same sets of the cache.
        const int64_t wide = width + kChannelGroup, inner = hidden + kChannelGroup;
        float* normed = threadScratch(count * (wide + inner));
        float* inside = normed + count * wide;
        kernels.normalise(from + first * width, width, normed, wide, count, static_cast<int>(width),
                          static_cast<float>(norm.eps));
        packed->fc1.apply(kernels, normed, wide, inside, inner, count, Activation::Gelu);
        packed->fc2.apply(kernels, inside, inner, normed, wide, count);
        kernels.add(from + first * width, width, normed, wide, to + first * width, width, count,
                    width);
    });
    return result;
}

at::Tensor splitHeads(const at::Tensor& x, int64_t heads) {
    return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor mergeHeads(const at::Tensor& x) {
    return x.transpose(1, 2).flatten(2);
}

at::Tensor tokensToMap(const at::Tensor& x, int64_t height, int64_t width) {
    return x.transpose(1, 2).reshape({x.size(0), x.size(2), height, width});
}

at::Tensor mapToTokens(const at::Tensor& x) {
    return x.flatten(2).transpose(1, 2);
}

PlainAttention::PlainAttention() {
    ++plainDepth;
}
PlainAttention::~PlainAttention() {
    --plainDepth;
}
bool PlainAttention::on() {
    return plainDepth > 0;
}

at::Tensor attentionReceived(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mask,
                             double scale) {
    const int64_t queries = q.size(2);
    const int64_t step = std::max<int64_t>(
        1, kWeightsAtOnce / std::max<int64_t>(1, q.size(0) * q.size(1) * k.size(2)));
    at::Tensor sum = at::zeros({q.size(0), k.size(2)}, q.options());
    for (int64_t first = 0; first < queries; first += step) {
        const int64_t count = std::min(step, queries - first);
        const at::Tensor part =
            mask.defined() && mask.size(2) > 1 ? mask.narrow(2, first, count) : mask;
        const std::vector<int64_t> headsAndQueries{1, 2};
        sum += attentionWeights(q.narrow(2, first, count), k, part, scale).sum(headsAndQueries);
    }
    return sum / static_cast<double>(q.size(1));
}

std::vector<at::Tensor> attendRows(int64_t rows, double scale,
                                   const std::function<WindowRow(int64_t)>& row) {
    std::vector<at::Tensor> results;
    if (!PlainAttention::on()) {
        for (int64_t i = 0; i < rows; ++i) {
            const WindowRow r = row(i);
            results.push_back(attend(r.q, r.k, r.v, r.mask, scale));
        }
        return results;
    }
    std::vector<at::Tensor> q, k, v, mask;
    for (int64_t i = 0; i < rows; ++i) {
        const WindowRow r = row(i);
        q.push_back(r.q);
        k.push_back(r.k);
        v.push_back(r.v);
        if (r.mask.defined()) mask.push_back(r.mask);
    }
    const at::Tensor all = attend(at::cat(q), at::cat(k), at::cat(v),
                                  mask.empty() ? at::Tensor() : at::cat(mask), scale);
    return all.chunk(rows);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, double scale) {
    if (PlainAttention::on()) return at::matmul(attentionWeights(q, k, mask, scale), v);
    // Where queries and values differ in width, LibTorch would form all weights at once: zeros cost
    // less.
    const int64_t wide = std::max(q.size(3), v.size(3));
    const auto padded = [wide](const at::Tensor& x) {
        return x.size(3) == wide ? x : at::constant_pad_nd(x, {0, wide - x.size(3)});
    };
    if (q.size(3) != v.size(3))
        return attend(padded(q), padded(k), padded(v), mask, scale).slice(3, 0, v.size(3));
    return at::scaled_dot_product_attention(
        q, k, v, mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt, 0.0, false,
        scale);
}

at::Tensor attentionWeights(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mask,
                            double scale) {
    const at::Tensor logits = at::matmul(q, k.transpose(-1, -2)) * scale;
    return (mask.defined() ? logits + mask : logits).softmax(-1);
}

at::Tensor windowsOfRow(const at::Tensor& map, int64_t row, int64_t step, int64_t side) {
    const at::Tensor windows =
        map.narrow(2, row * step, side).unfold(3, side, step).permute({0, 3, 1, 2, 5, 4});
    return windows.reshape(
        {windows.size(0) * windows.size(1), windows.size(2), side * side, windows.size(5)});
}

at::Tensor rowOfWindows(const at::Tensor& windows, int64_t batch, int64_t side) {
    const int64_t heads = windows.size(1), d = windows.size(3);
    return windows.reshape({batch, -1, heads, side, side, d})
        .permute({0, 2, 3, 1, 4, 5})
        .reshape({batch, heads, side, -1, d});
}

int64_t makeDivisible(double v, int64_t divisor, double limit) {
    const auto rounded = std::max(
        divisor, static_cast<int64_t>(v + static_cast<double>(divisor) / 2) / divisor * divisor);
    return static_cast<double>(rounded) < limit * v ? rounded + divisor : rounded;
}

void checkSize(const at::Tensor& image, int64_t multiple, const char* network) {
    if (image.dim() != 4 || image.size(2) < multiple || image.size(3) < multiple ||
        image.size(2) % multiple != 0 || image.size(3) % multiple != 0)
        throw ModelError(std::string(network) +
                         ": the input must be [B, 3, H, W] with H and W multiples of " +
                         std::to_string(multiple));
}

at::Tensor evenShares(const at::Tensor& map) {
    const std::vector<int64_t> last{-2, -1};
    const at::Tensor mean = map.mean(last, /*keepdim=*/true);
    return map / mean.clamp_min(1e-30);
}

}  // namespace atlas::engine
