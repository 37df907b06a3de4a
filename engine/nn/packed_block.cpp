// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/packed_block.h"

namespace atlas::engine {

PackedBlock::PackedBlock(const AtlasBlock& block, int64_t dim, const CpuKernels& kernels, bool bf16)
    : heads_(block.heads()), dim_(dim) {
    for (const auto& w : block.sets()) {
        Set set;
        set.q = PackedLinear::pack(w.q, &w.normQ, kernels, 1, bf16);
        if (!block.memory()) set.kv = PackedLinear::pack(w.kv, &w.normKv, kernels, 2, bf16);
        set.proj = PackedLinear::pack(w.proj, nullptr, kernels, 1, bf16);
        set.fc1 = PackedLinear::pack(w.fc1, &w.norm2, kernels, 1, bf16);
        set.fc2 = PackedLinear::pack(w.fc2, nullptr, kernels, 1, bf16);
        set.position0 = w.position0;
        set.position2 = w.position2;
        sets_.push_back(std::move(set));
    }
    if (const auto& memory = block.memory())
        memory_ = {PackedLinear::pack(memory->keys, nullptr, kernels),
                   PackedLinear::pack(memory->values, nullptr, kernels),
                   memory->keys.weight.size(0)};
}

const float* PackedBlock::position(size_t scale, int64_t side) const {
    const std::lock_guard lock(positions_->mutex);
    auto& kept = positions_->entries[{std::min(scale, sets_.size() - 1), side}];
    if (kept.count() == 0) {
        const auto& w = set(scale);
        const at::Tensor p =
            positionEmbedding(w.position0, w.position2, side).to(at::kCPU, at::kFloat).contiguous();
        const int64_t stride = paddedChannels(dim_);
        kept = AlignedFloats(side * side * stride);
        for (int64_t t = 0; t < side * side; ++t)
            std::copy_n(p.const_data_ptr<float>() + t * dim_, dim_, kept.data() + t * stride);
    }
    return kept.data();
}

int64_t PackedBlock::bytes() const {
    size_t bytes = 0;
    for (const auto& w : sets_)
        for (const auto* layer : {&w.q, &w.kv, &w.proj, &w.fc1, &w.fc2})
            bytes += (layer->weights.size() + layer->bias.size()) * sizeof(float) +
                     layer->pairs.size() * sizeof(uint16_t);
    return static_cast<int64_t>(bytes);
}

}  // namespace atlas::engine
