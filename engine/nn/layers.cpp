// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/layers.h"

namespace atlas::engine {

Linear Linear::read(WeightReader& reader, const std::string& name, int64_t in, int64_t out,
                    bool bias) {
    Linear layer{reader.take(name + ".weight", {out, in}), {}};
    if (bias) layer.bias = reader.take(name + ".bias", {out});
    return layer;
}

LayerNorm LayerNorm::read(WeightReader& reader, const std::string& name, int64_t width,
                          double eps) {
    return {reader.take(name + ".weight", {width}), reader.take(name + ".bias", {width}), eps};
}

ConvNorm ConvNorm::read(WeightReader& reader, const std::string& conv, const std::string& norm,
                        int64_t in, int64_t out, int64_t stride, bool bias, double eps) {
    ConvNorm layer;
    layer.stride = stride;
    layer.eps = eps;
    layer.weight = reader.take(conv + ".weight", {out, in, 3, 3});
    if (bias) layer.bias = reader.take(conv + ".bias", {out});
    if (norm.empty()) return layer;
    layer.gamma = reader.take(norm + ".weight", {out});
    layer.beta = reader.take(norm + ".bias", {out});
    layer.runningMean = reader.take(norm + ".running_mean", {out});
    layer.runningVar = reader.take(norm + ".running_var", {out});
    reader.ignore(norm + ".num_batches_tracked");
    return layer;
}

void ConvNorm::fold() {
    if (!gamma.defined()) return;
    const at::Tensor scale = gamma / (runningVar + eps).sqrt();
    const at::Tensor shift = bias.defined() ? bias - runningMean : -runningMean;
    weight = (weight * scale.view({-1, 1, 1, 1})).contiguous(at::MemoryFormat::ChannelsLast);
    bias = beta + shift * scale;
    gamma = beta = runningMean = runningVar = at::Tensor();
}

at::Tensor ConvNorm::operator()(const at::Tensor& x, const ForwardMode& mode) const {
    const at::Tensor y = at::conv2d(x, weight, bias, stride, 1);
    if (!gamma.defined()) return y;
    return at::batch_norm(y, gamma, beta, runningMean, runningVar, mode.training, mode.bnMomentum,
                          eps, false);
}

at::Tensor dropPath(const at::Tensor& branch, const ForwardMode& mode) {
    if (!mode.training || mode.dropPath <= 0) return branch;
    std::vector<int64_t> shape(static_cast<size_t>(branch.dim()), 1);
    shape[0] = branch.size(0);
    const double keep = 1 - mode.dropPath;
    const at::Tensor kept = (at::rand(shape, at::TensorOptions().dtype(at::kFloat)) < keep);
    return branch * (kept.to(branch.device(), branch.scalar_type()) / keep);
}

}  // namespace atlas::engine
