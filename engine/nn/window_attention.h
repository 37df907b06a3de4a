// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/aligned_floats.h"
#include "engine/nn/attention_record.h"
#include "engine/nn/work_team.h"

namespace atlas::engine {

/// Mean over heads of values [heads, count] whose heads are `stride` floats apart.
std::vector<float> meanOfHeads(const float* values, int64_t heads, int64_t stride, int64_t count);

/// Attention of windows of one scale on the processor, and what a record keeps of it.
class WindowAttention {
  public:
    /// Whose keys a segment holds.
    struct KeySource {
        size_t scale = 0;  ///< of the stage
        int64_t slot = 0;
    };

    /// Rows of tokens are `dim` floats long, head by head.
    WindowAttention(const CpuKernels& kernels, int64_t dim, int64_t heads)
        : kernels_(kernels), dim_(dim), heads_(heads) {}

    /// `task`: places of a window's tokens, of all heads; what concerns a head alone is left out.
    /// `sources`, of its segments: the first one is the window itself (upwards: the window under
    /// the tile whose tokens ask).
    void add(const AttentionTask& task, std::vector<KeySource> sources);

    /// Every window and head is one piece of work. `maps`: what they look at is kept.
    void run(WorkTeam::Member& team, bool maps);

    /// Top-down (spec 5.3): what `record` asks for.
    void recordTopDown(const AttentionRecord& record) const;
    /// Finer to coarser (spec 5.4).
    void recordUpwards(const AttentionRecord& record) const;

  private:
    void recordMaps(const AttentionRecord& record) const;
    void recordProbe(const AttentionRecord& record) const;
    void recordFlow(const AttentionRecord& record, bool upwards) const;
    AttentionTask ofHead(AttentionTask task, int64_t head) const;
    void addWeights(AttentionTask task, int64_t query, int64_t head, float* weights) const;

    const CpuKernels& kernels_;
    const int64_t dim_, heads_;
    std::vector<AttentionTask> tasks_;
    std::vector<std::vector<KeySource>> sources_;
    int64_t shares_ = 0, keys_ = 0;  ///< of a window, at most; shares: segments x queries
    AlignedFloats mass_;             ///< [windows, heads, shares]
    AlignedFloats received_;         ///< [windows, heads, keys]
};

}  // namespace atlas::engine
