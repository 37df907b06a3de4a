// SPDX-License-Identifier: Apache-2.0
// Multi-scale attention blocks on the processor, the same as AtlasBlock to rounding. Tokens stay
// where they are; keys and values of parents are read in place, so nothing is repeated, gathered
// or merged.
#pragma once

#include <vector>

#include "engine/nn/block_engine.h"
#include "engine/nn/packed_block.h"
#include "engine/nn/token_pool.h"
#include "engine/nn/work_team.h"

namespace atlas::engine {

/// With the buffers of one run at a time.
class BlockRunner : public BlockEngine {
  public:
    /// `stages` must live longer.
    BlockRunner(const CpuKernels& kernels, const PackedStages& stages, const AtlasConfig& config);

    int64_t stride() const override { return stride_; }
    int64_t hostBytes(const std::vector<TokenScale>& layouts) const override;
    bool holdsFinest(const std::vector<TokenScale>&) const override { return false; }
    void begin(const std::vector<TokenScale>& layouts, float* finest) override;
    void writeFinestTo(float* finest) override { scales_[0].tokens = finest; }
    void dropFinest() override;
    void end() override { scales_.clear(); }

    int64_t windowsAtOnce(size_t i) const override;
    void place(int64_t image, int64_t row, int64_t column, const at::Tensor& tokens) override;
    void poolTokens(size_t i, int64_t from, int64_t to) override;
    void clearInvalid(size_t i) override;
    void pool(BlockId block, size_t i, int64_t from, int64_t to) override;
    void enter(BlockId block, size_t i) override;
    void topDown(BlockId block, size_t i, int64_t from, int64_t to, const float* source,
                 const AttentionRecord& record) override;
    void share(BlockId block, size_t i, int64_t from, int64_t to) override;
    void upwards(BlockId block, size_t i, int64_t from, int64_t to,
                 const AttentionRecord& record) override;
    std::vector<AttentionFlow::Edge> poolEdges(const BlockId* block, size_t i) const override;

    at::Tensor tokens(size_t i, int64_t from, int64_t to) const override;
    void save(size_t i, int64_t from, int64_t to, float* out) const override;
    void load(size_t i, int64_t from, int64_t to, const float* in) override;

  private:
    struct Scale {
        const TokenScale* layout = nullptr;
        float* tokens = nullptr;  ///< [slots, tokens of a window, stride]
        AlignedFloats own;        ///< they lie here, the finest apart
        AlignedFloats shared;     ///< keys and values for the finer scales, [.., .., 2 stride]
        AlignedFloats pooled;     ///< maxima of the next finer scale, as tokens
    };
    /// Of a thread, for the windows that it works on.
    struct Buffers {
        AlignedFloats query, keyValue, attended, normed, hidden, tiles;
    };
    using Member = WorkTeam::Member;

    const PackedBlock& packed(BlockId id) const { return stages_[id.stage][id.block]; }
    /// What the finest scale has not been given yet.
    const float* positionBefore(const PackedBlock& block, size_t i) const {
        return i == 0 ? block.position(0, scales_[0].layout->geometry.window) : nullptr;
    }
    TokenPool poolOf(size_t i, const float* position) const;
    void topDownOf(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                   const float* source, const float* position, const AttentionRecord& record);
    void lookAround(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                    const AttentionRecord& record);
    void recall(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                const AttentionRecord& record);
    void finish(Member& team, const PackedBlock::Set& set, float* tokens, const float* attended,
                int64_t rows);
    void lookDown(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                  int64_t row, int64_t side, const AttentionRecord& record);
    int64_t windowsTogether(size_t i, int64_t from, int64_t to,
                            const AttentionRecord& record) const;
    void eachGroup(int64_t from, int64_t to, int64_t together,
                   const std::function<void(Member&, int64_t from, int64_t to)>& work);
    Buffers& buffersOf(const Member& team) { return buffers_[static_cast<size_t>(team.index())]; }
    PackedLinear::Rows normalise(Member& team, const PackedLinear& layer, const float* x,
                                 int64_t rows);
    PackedLinear::Rows ready(Member& team, const PackedLinear& layer, const float* x,
                             int64_t stride, int64_t rows);
    void project(Member& team, const PackedLinear& layer, const float* x, float* to, int64_t rows);
    void clearInvalid(size_t i, int64_t from, int64_t to);

    const CpuKernels& kernels_;
    const PackedStages& stages_;
    int64_t dim_, stride_, ratio_;
    WindowMapping mapping_;
    std::vector<Scale> scales_;     // of the stage
    std::vector<Buffers> buffers_;  // of the members of a team
    /// The tiles of upwards(), row by row.
    struct Tiles {
        AlignedFloats tokens, query, attended;
        std::vector<uint8_t> valid;
    };
    Tiles tiles_;
};

}  // namespace atlas::engine
