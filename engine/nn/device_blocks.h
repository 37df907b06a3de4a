// SPDX-License-Identifier: Apache-2.0
// Multi-scale attention blocks of a whole image by LibTorch's operations on a device, with the
// plug-in's attention where that is in use. The coarse scales, 1/15 of the tokens, lie in the
// device's memory; the finest too if they fit, else chunks of their windows come from the host's
// memory and go back to it.
#pragma once

#include <utility>

#include "engine/nn/atlas.h"
#include "engine/nn/block_engine.h"

namespace atlas::engine {

class DeviceBlocks : public BlockEngine {
  public:
    /// `network` lies on the device and must live longer. `bf16`: products in bfloat16, tokens in
    /// float32.
    DeviceBlocks(const Atlas& network, bool bf16);

    int64_t stride() const override;
    int64_t hostBytes(const std::vector<TokenScale>&) const override { return 0; }
    void allow(int64_t deviceBytes) override { deviceBytes_ = deviceBytes; }
    bool holdsFinest(const std::vector<TokenScale>& layouts) const override;
    void begin(const std::vector<TokenScale>& layouts, float* finest) override;
    void writeFinestTo(float* finest) override;
    void dropFinest() override;
    void end() override;

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
        /// [slots, tokens, dim]; undefined: in the host's memory. float32; the finest in bfloat16
        /// where products are and it does not fit otherwise.
        at::Tensor tokens;
        at::Tensor pooled;  ///< likewise: maxima of the next finer scale
        at::Tensor shared;  ///< [slots + 1, tokens, 2 dim]: keys and values; the last one is nobody
        at::Tensor valid;   ///< bool [slots, tokens]; undefined: all
        at::Tensor tiles;   ///< int64 [slots * tile]: tokens of the next scale over each window
    };
    /// Windows of the finest scale that lie in the host's memory, as they are there.
    struct Chunk {
        int64_t from = -1, to = -1;
        at::Tensor tokens;
    };
    /// Which windows of a coarser scale some windows look at.
    struct Parents {
        std::vector<int64_t> slots;        ///< each once; -1: nobody
        std::vector<int32_t> indexOfEach;  ///< [windows] into slots
    };
    /// Bytes for each part of a run.
    struct Room {
        int64_t all = 0, coarse = 0, finest = 0;
        bool fits(int64_t bytes) const;  ///< beside the coarse scales and a call's work
    };

    const AtlasBlock& block(BlockId id) const;
    const AtlasBlock::WeightSet& set(BlockId id, size_t i) const;
    at::Tensor position(BlockId id, size_t i) const;
    at::Tensor heads(BlockId id, const at::Tensor& x) const;
    std::pair<at::Tensor, at::Tensor> keysAndValues(BlockId id, const at::Tensor& both) const;
    Room roomFor(const std::vector<TokenScale>& layouts) const;
    at::Tensor upload(const float* from, size_t i, int64_t windows) const;
    at::Tensor windows(size_t i, int64_t from, int64_t to, const float* source = nullptr) const;
    void write(size_t i, int64_t from, int64_t to, const at::Tensor& tokens);
    at::Tensor validOf(size_t i, int64_t from, int64_t to) const;
    at::Tensor maxima(size_t i, int64_t from, int64_t to, const at::Tensor& tokens) const;
    at::Tensor tilesOf(size_t i, int64_t from, int64_t to) const;
    Parents parentsOf(size_t i, size_t t, int64_t from, int64_t to) const;
    KeySegment segmentOf(BlockId id, size_t t, const Parents& parents) const;
    at::Tensor finish(const AtlasBlock::WeightSet& set, const at::Tensor& tokens,
                      const at::Tensor& attended, const at::Tensor& valid) const;

    const Atlas& network_;
    at::Device device_;
    bool bf16_;
    int64_t deviceBytes_ = 0;
    std::vector<Scale> scales_;  // of the stage
    float* finest_ = nullptr;
    int64_t chunkBytes_ = 0;
    mutable Chunk chunk_;
};

}  // namespace atlas::engine
