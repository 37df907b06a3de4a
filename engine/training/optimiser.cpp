// SPDX-License-Identifier: Apache-2.0
#include "engine/training/optimiser.h"

#include <ATen/ops/_fused_adamw.h>

#include <algorithm>
#include <cmath>

#include "engine/nn/model_error.h"

namespace atlas::engine {

Optimiser::Optimiser(const StateDict& weights) {
    for (const auto& [name, tensor] : weights) {
        if (isBuffer(name)) continue;
        auto& group = tensor.dim() > 1 ? decayed_ : plain_;
        group.parameters.push_back(tensor);
        group.names.push_back(name);
        group.first.push_back(at::zeros_like(tensor).detach());
        group.second.push_back(at::zeros_like(tensor).detach());
        group.steps.push_back(
            at::zeros({}, tensor.options().dtype(at::kFloat).requires_grad(false)));
    }
}

void Optimiser::step(double learningRate, double weightDecay, double clipNorm) {
    const at::NoGradGuard noGradient;
    const double scale = clipScale(clipNorm);
    for (auto* group : {&decayed_, &plain_}) {
        std::vector<at::Tensor> gradients, parameters, first, second, steps;
        for (size_t i = 0; i < group->parameters.size(); ++i) {
            const at::Tensor gradient = group->parameters[i].grad();
            if (!gradient.defined()) continue;  // weight sets beyond the scales of the image
            gradient.mul_(scale);
            gradients.push_back(gradient);
            parameters.push_back(group->parameters[i]);
            first.push_back(group->first[i]);
            second.push_back(group->second[i]);
            steps.push_back(group->steps[i].add_(1));
        }
        at::_fused_adamw_(parameters, gradients, first, second, {}, steps, learningRate, 0.9, 0.999,
                          group == &decayed_ ? weightDecay : 0.0, 1e-8, false, false);
        for (const auto& gradient : gradients) gradient.zero_();
    }
}

void Optimiser::save(StateDict& state) const {
    for (const auto* group : {&decayed_, &plain_})
        for (size_t i = 0; i < group->names.size(); ++i) {
            state["first/" + group->names[i]] = group->first[i];
            state["second/" + group->names[i]] = group->second[i];
            state["steps/" + group->names[i]] = group->steps[i];
        }
}

void Optimiser::load(const StateDict& state) {
    for (auto* group : {&decayed_, &plain_})
        for (size_t i = 0; i < group->names.size(); ++i) {
            group->first[i].copy_(state.at("first/" + group->names[i]));
            group->second[i].copy_(state.at("second/" + group->names[i]));
            group->steps[i].copy_(state.at("steps/" + group->names[i]));
        }
}

double Optimiser::clipScale(double clipNorm) const {
    if (clipNorm <= 0) return 1;
    double squares = 0;
    for (const auto* group : {&decayed_, &plain_})
        for (const auto& parameter : group->parameters)
            if (parameter.grad().defined())
                squares += parameter.grad().square().sum().item<double>();
    const double norm = std::sqrt(squares);
    if (!std::isfinite(norm)) throw ModelError("training diverged: the gradient is not finite");
    return std::min(1.0, clipNorm / (norm + 1e-6));
}

}  // namespace atlas::engine
