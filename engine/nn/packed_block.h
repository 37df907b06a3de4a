// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/nn/aligned_floats.h"
#include "engine/nn/atlas_block.h"
#include "engine/nn/packed_linear.h"

namespace atlas::engine {

/// Weights of a block, packed. Rows of tokens are `stride` floats apart, padded with zeros.
class PackedBlock {
  public:
    struct Set {
        PackedLinear q, kv, proj, fc1, fc2;
        Linear position0, position2;
    };

    /// `bf16`: products in bfloat16 where the processor has them; sums and attention stay float32.
    PackedBlock(const AtlasBlock& block, int64_t dim, const CpuKernels& kernels, bool bf16 = false);
    const Set& set(size_t scale) const { return sets_[std::min(scale, sets_.size() - 1)]; }
    int64_t heads() const { return heads_; }
    /// Learned memories that the tokens look at instead of each other (external_attention.h).
    struct Memory {
        PackedLinear keys, values;
        int64_t slots = 0;
    };
    const Memory* memory() const { return memory_ ? &*memory_ : nullptr; }
    /// P of spec 5.1, [side*side, stride]; kept. Thread-safe.
    const float* position(size_t scale, int64_t side) const;
    int64_t bytes() const;  ///< of the weights

  private:
    std::vector<Set> sets_;
    std::optional<Memory> memory_;
    int64_t heads_, dim_;
    struct Positions {
        std::mutex mutex;
        std::map<std::pair<size_t, int64_t>, AlignedFloats> entries;
    };
    std::unique_ptr<Positions> positions_ = std::make_unique<Positions>();
};

/// By stage.
using PackedStages = std::vector<std::vector<PackedBlock>>;

}  // namespace atlas::engine
