// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/runner_readout.h"

namespace atlas::engine {
namespace {

constexpr double kNormEps = 1e-5;

/// `values` [windows, tokens, ..] with 0 at tokens that are not valid.
at::Tensor onlyValid(const at::Tensor& values, const TokenScale& layout, int64_t from, int64_t to) {
    bool all = true;
    for (int64_t slot = from; slot < to; ++slot) all = all && !layout.validOf(slot);
    if (all) return values;
    const at::Tensor valid =
        at::from_blob(const_cast<uint8_t*>(layout.valid.data()) + from * layout.tokens(),
                      {to - from, layout.tokens(), 1}, at::kByte);
    return values.masked_fill((valid == 0).to(values.device()), 0);
}

}  // namespace

void Readout::eachRun(size_t scale, const Work& work) const {
    const TokenScale& windows = layout(scale);
    const int64_t step = blocks_.windowsAtOnce(scale);
    const auto imageOf = [&](int64_t slot) {
        return windows.windows[static_cast<size_t>(slot)].image;
    };
    for (int64_t from = 0, to = 0; from < windows.slots(); from = to) {
        to = std::min(from + step, windows.slots());
        while (imageOf(to - 1) != imageOf(from)) --to;
        work(from, to, layers_.norm(blocks_.tokens(scale, from, to)));
        if (doneWith) doneWith(scale, from, to);
    }
}

at::Tensor Readout::logits(int64_t images, Trace& trace) {
    const int64_t dim = layers_.fc.weight.size(1);
    at::Tensor sums = at::zeros({images, dim}, at::kDouble);
    std::vector<double> counts(static_cast<size_t>(images), 0);
    for (size_t i = 0; i < scales(); ++i) {
        const TokenScale& windows = layout(i);
        for (int64_t b = 0; b < images; ++b)
            counts[static_cast<size_t>(b)] += static_cast<double>(windows.validTokens(b));
        eachRun(i, [&](int64_t from, int64_t to, const at::Tensor& normed) {
            const at::Tensor sum = onlyValid(normed, windows, from, to).sum(1).to(at::kDouble);
            sums[windows.windows[static_cast<size_t>(from)].image].add_(sum.sum(0).cpu());
        });
    }
    count_ = at::from_blob(counts.data(), {images, 1}, at::kDouble).clone();
    mean_ = (sums / count_).to(at::kFloat);
    trace["pooled.mean"] = mean_;
    trace["logits"] = layers_.fc(layers_.fcNorm(mean_.to(layers_.fc.weight.device()))).cpu();
    return trace["logits"];
}

void Readout::contributions(Trace& trace) const {
    const at::Tensor sigma =
        (mean_.to(at::kDouble).var({1}, /*unbiased=*/false, /*keepdim=*/true) + kNormEps).sqrt();
    const at::Device device = layers_.fc.weight.device();
    const at::Tensor scale =  // [images, dim]
        (layers_.fcNorm.weight.to(at::kCPU, at::kDouble) / sigma / count_).to(device, at::kFloat);
    const int64_t classes = layers_.fc.weight.size(0);
    for (size_t i = 0; i < scales(); ++i) {
        const TokenScale& windows = layout(i);
        const auto& g = windows.geometry;
        at::Tensor map = at::zeros({mean_.size(0), g.side, g.side, classes}, at::kFloat);
        eachRun(i, [&](int64_t from, int64_t to, const at::Tensor& normed) {
            const int64_t image = windows.windows[static_cast<size_t>(from)].image;
            const at::Tensor centred =
                (normed - normed.mean(at::IntArrayRef({-1}), true)) * scale[image];
            const at::Tensor share =
                onlyValid(at::linear(centred, layers_.fc.weight), windows, from, to).cpu();
            for (int64_t slot = from; slot < to; ++slot) {
                const auto& w = windows.windows[static_cast<size_t>(slot)];
                map[image]
                    .slice(0, w.row * g.window, (w.row + 1) * g.window)
                    .slice(1, w.column * g.window, (w.column + 1) * g.window)
                    .copy_(share[slot - from].view({g.window, g.window, classes}));
            }
        });
        trace["contributions.scale" + std::to_string(first_ + static_cast<int64_t>(i))] = map;
    }
    trace["baseline"] = layers_.fc(layers_.fcNorm.bias).cpu();
}

}  // namespace atlas::engine
