// SPDX-License-Identifier: Apache-2.0
// One multi-scale attention block on the processor, some windows at a time: spec section 5 with
// the masks of section 11, the same as AtlasBlock to rounding. Tokens stay where they are; keys
// and values of parents are read in place, so nothing is repeated, gathered or merged.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/nn/atlas_block.h"
#include "engine/nn/attention_flow.h"
#include "engine/nn/packed_linear.h"
#include "engine/nn/token_memory.h"
#include "engine/nn/token_scale.h"

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
    double flopsPerToken(size_t scale) const;  ///< of the linear layers
    int64_t bytes() const;                     ///< of the weights

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

/// A scale while blocks run over it.
struct RunningScale {
    const TokenScale* layout = nullptr;
    float* tokens = nullptr;  ///< [slots, tokens of a window, stride]
    AlignedFloats shared;     ///< keys and values for the finer scales, [slots, tokens, 2 stride]
    AlignedFloats pooled;     ///< maxima of the next finer scale, [slots, tokens, stride]
};

/// Whose keys a segment holds.
struct KeySource {
    size_t scale = 0;  ///< of the stage
    int64_t slot = 0;
};

/// Attention products of a block, as raster maps [images, side, side] (spec 8), and which keys it
/// goes without.
struct AttentionRecord {
    Trace* trace = nullptr;
    std::string prefix;  ///< of the names, "stage0."
    int64_t first = 0;   ///< number of the finest scale of the stage in the whole network
    bool maps = false;   ///< mass and received
    std::optional<ProbePoint> probe;
    int64_t scaleOff = -1;  ///< of the whole network: no other scale sees its keys
    AttentionFlow* flow = nullptr;
    int64_t stage = 0, block = 0;
};

/// With the buffers of one run at a time.
class BlockRunner {
  public:
    BlockRunner(const CpuKernels& kernels, int64_t dim, int64_t ratio, WindowMapping mapping);

    int64_t stride() const { return stride_; }
    /// Windows that one call should take so that every thread has work.
    int64_t windowsAtOnce(const TokenScale& scale) const;

    /// Top-down pass (5.3), or what an external block does, of the windows [from, to) of scale `i`
    /// of the stage. Reads `source` (null: in place), adding `position` where given; writes
    /// scales[i].tokens.
    void topDown(const PackedBlock& block, std::vector<RunningScale>& scales, size_t i,
                 int64_t from, int64_t to, const float* source, const float* position,
                 const AttentionRecord& record);

    /// Keys and values of the windows [from, to) for the finer scales, into scales[i].shared. An
    /// external block has none.
    void share(const PackedBlock& block, std::vector<RunningScale>& scales, size_t i, int64_t from,
               int64_t to);

    /// Finer-to-coarser pass (5.4): the windows [from, to) of scale `i` and the tiles over them of
    /// scale i + 1, whose tokens are updated. An external block has no such pass.
    void upwards(const PackedBlock& block, std::vector<RunningScale>& scales, size_t i,
                 int64_t from, int64_t to, const AttentionRecord& record);

    /// Maxima of the windows [from, to) of `fine` plus `position` (or null) into `pooled` of the
    /// next scale, laid out like its tokens; only valid tokens count.
    void pool(const TokenScale& fine, const float* tokens, const float* position,
              const TokenScale& coarse, float* pooled, int64_t from, int64_t to) const;

    /// Which children max-pooling took, by the share of channels; as pool(), of the first image.
    std::vector<AttentionFlow::Edge> poolEdges(const TokenScale& fine, const float* tokens,
                                               const float* position,
                                               const TokenScale& coarse) const;

    const CpuKernels& kernels() const { return kernels_; }

  private:
    struct Buffers {
        AlignedFloats query, keyValue, attended;
    };

    void topDownOf(Buffers& buffers, const PackedBlock& block, std::vector<RunningScale>& scales,
                   size_t i, int64_t from, int64_t to, const float* source, const float* position,
                   const AttentionRecord& record);
    void lookAround(Buffers& buffers, const PackedBlock& block,
                    const std::vector<RunningScale>& scales, size_t i, int64_t from, int64_t to,
                    const AttentionRecord& record);
    void recall(Buffers& buffers, const PackedBlock& block, const std::vector<RunningScale>& scales,
                size_t i, int64_t from, int64_t to, const AttentionRecord& record);
    void attend(const std::vector<AttentionTask>& windows, int64_t heads, float* received,
                int64_t keysEach, float* mass);
    void finish(const PackedBlock::Set& set, float* tokens, const float* attended, int64_t rows);
    void split(int64_t rows, int64_t hidden,
               const std::function<void(int64_t first, int64_t count)>& work) const;
    void clearInvalid(const TokenScale& layout, float* tokens, int64_t from, int64_t to) const;
    void record(const AttentionRecord& record, const std::vector<RunningScale>& scales, size_t i,
                int64_t from, const std::vector<std::vector<KeySource>>& sources,
                const std::vector<AttentionTask>& tasks, int64_t keysEach, int64_t heads);
    void recordProbe(const AttentionRecord& record, const std::vector<RunningScale>& scales,
                     size_t i, int64_t from, int64_t to,
                     const std::vector<std::vector<KeySource>>& sources,
                     const std::vector<AttentionTask>& tasks, int64_t heads);
    void recordFlow(const AttentionRecord& record, const std::vector<RunningScale>& scales,
                    int64_t scale, bool upwards, const std::vector<std::vector<int64_t>>& queries,
                    const std::vector<std::vector<KeySource>>& sources,
                    const std::vector<AttentionTask>& tasks, int64_t heads);
    void weightsOf(AttentionTask task, int64_t query, int64_t head, int64_t heads,
                   float* weights) const;

    const CpuKernels& kernels_;
    int64_t dim_, stride_, ratio_;
    WindowMapping mapping_;
    std::vector<Buffers> buffers_{1};  // one a thread that works on windows of its own
    AlignedFloats tiles_, mass_, received_;
};

}  // namespace atlas::engine
