// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/runner_readout.h"

namespace atlas::engine {
namespace {

constexpr double kNormEps = 1e-5;

/// [tokens, 1], 0 at invalid ones; undefined where all are valid.
at::Tensor validMask(const TokenScale& layout, int64_t slot) {
    const uint8_t* valid = layout.validOf(slot);
    if (!valid) return {};
    return at::from_blob(const_cast<uint8_t*>(valid), {layout.tokens(), 1}, at::kByte)
        .to(at::kFloat);
}

}  // namespace

void Readout::eachWindow(size_t scale,
                         const std::function<void(int64_t, const at::Tensor&)>& work) const {
    const TokenScale& layout = *scales[scale].layout;
    const int64_t each = layout.tokens() * stride;
    for (int64_t slot = 0; slot < layout.slots(); ++slot) {
        const at::Tensor tokens =
            at::from_blob(scales[scale].tokens + slot * each, {layout.tokens(), dim}, {stride, 1},
                          at::TensorOptions().dtype(at::kFloat));
        work(slot, layers.norm(tokens));
        if (doneWith) doneWith(scale, slot);
    }
}

at::Tensor Readout::logits(int64_t images, Trace& trace) {
    at::Tensor sums = at::zeros({images, dim}, at::kDouble);
    std::vector<double> counts(static_cast<size_t>(images), 0);
    for (size_t i = 0; i < scales.size(); ++i) {
        const TokenScale& layout = *scales[i].layout;
        for (int64_t b = 0; b < images; ++b)
            counts[static_cast<size_t>(b)] += static_cast<double>(layout.validTokens(b));
        eachWindow(i, [&](int64_t slot, const at::Tensor& normed) {
            const at::Tensor mask = validMask(layout, slot);
            const at::Tensor sum = (mask.defined() ? normed * mask : normed).sum(0);
            sums[layout.windows[static_cast<size_t>(slot)].image].add_(sum.to(at::kDouble));
        });
    }
    count = at::from_blob(counts.data(), {images, 1}, at::kDouble).clone();
    mean = (sums / count).to(at::kFloat);
    trace["pooled.mean"] = mean;
    trace["logits"] = layers.fc(layers.fcNorm(mean));
    return trace["logits"];
}

void Readout::contributions(Trace& trace) const {
    const at::Tensor sigma =
        (mean.to(at::kDouble).var({1}, /*unbiased=*/false, /*keepdim=*/true) + kNormEps).sqrt();
    const at::Tensor scale =  // [images, dim]
        (layers.fcNorm.weight.to(at::kDouble) / sigma / count).to(at::kFloat);
    const int64_t classes = layers.fc.weight.size(0);
    for (size_t i = 0; i < scales.size(); ++i) {
        const TokenScale& layout = *scales[i].layout;
        const auto& g = layout.geometry;
        at::Tensor map = at::zeros({mean.size(0), g.side, g.side, classes}, at::kFloat);
        eachWindow(i, [&](int64_t slot, const at::Tensor& normed) {
            const auto& w = layout.windows[static_cast<size_t>(slot)];
            const at::Tensor centred =
                (normed - normed.mean(at::IntArrayRef({-1}), true)) * scale[w.image];
            at::Tensor share = at::linear(centred, layers.fc.weight);
            const at::Tensor mask = validMask(layout, slot);
            if (mask.defined()) share = share * mask;
            map[w.image]
                .slice(0, w.row * g.window, (w.row + 1) * g.window)
                .slice(1, w.column * g.window, (w.column + 1) * g.window)
                .copy_(share.view({g.window, g.window, classes}));
        });
        trace["contributions.scale" + std::to_string(first + static_cast<int64_t>(i))] = map;
    }
    trace["baseline"] = layers.fc(layers.fcNorm.bias);
}

}  // namespace atlas::engine
