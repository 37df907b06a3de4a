// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/external_attention.h"

namespace atlas::engine {
namespace {

constexpr double kLeast = 1e-9;  // as the authors have it
constexpr double kNever = -1e9;  // its exponential is 0 in every precision

}  // namespace

ExternalMemory ExternalMemory::read(WeightReader& reader, const std::string& prefix,
                                    int64_t headSize, int64_t slots) {
    return {Linear::read(reader, prefix + "memory.mk", headSize, slots, false),
            Linear::read(reader, prefix + "memory.mv", slots, headSize, false)};
}

ExternalAttention externalAttention(const at::Tensor& q, const ExternalMemory& memory,
                                    const at::Tensor& valid) {
    at::Tensor scores = memory.keys(q);
    if (scores.scalar_type() != at::kDouble) scores = scores.to(at::kFloat);
    at::Tensor taken;  // [windows, 1, tokens, 1]
    if (valid.defined()) {
        taken = valid.unsqueeze(1).unsqueeze(-1);
        scores = scores.masked_fill(taken.logical_not(), kNever);
    }
    at::Tensor weights = scores.softmax(2);
    // A window without any valid token would give each an equal share.
    if (valid.defined()) weights = weights * taken;
    ExternalAttention result;
    result.received = weights.sum(3).mean(at::IntArrayRef({1}));
    weights = weights / (weights.sum(at::IntArrayRef({3}), /*keepdim=*/true) + kLeast);
    result.out = memory.values(weights.to(q.scalar_type()));
    return result;
}

}  // namespace atlas::engine
