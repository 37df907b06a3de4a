// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/nn/attention_record.h"
#include "engine/nn/token_scale.h"

namespace atlas::engine {

/// A block of a network.
struct BlockId {
    size_t stage = 0, block = 0;
};

/// Multi-scale attention blocks over the tokens of one run at a time (spec section 5 with the masks
/// of section 11), some windows at once; and who holds those tokens. Written for the processor
/// (block_runner.h) and for LibTorch's devices (device_blocks.h).
///
/// Scales are numbered within the stage, finest first. Windows are slots of their TokenScale.
class BlockEngine {
  public:
    virtual ~BlockEngine() = default;

    /// Floats from token to token in the host's memory; what is not a channel is 0.
    virtual int64_t stride() const = 0;
    /// Bytes of the host's memory that the scales of a run need, the finest tokens apart.
    virtual int64_t hostBytes(const std::vector<TokenScale>& layouts) const = 0;
    /// Of a device's memory the next run may take so much; 0: what is free then.
    virtual void allow(int64_t deviceBytes) { static_cast<void>(deviceBytes); }
    /// Does it hold the finest tokens of such a run itself? The host's memory has them otherwise.
    virtual bool holdsFinest(const std::vector<TokenScale>& layouts) const = 0;

    /// A run begins. `layouts` stay where they are until end(). `finest`: the finest tokens [slots,
    /// tokens, stride] in the host's memory, or null where the engine holds them.
    virtual void begin(const std::vector<TokenScale>& layouts, float* finest) = 0;
    /// The tokens of the finest scale are written there from now on.
    virtual void writeFinestTo(float* finest) = 0;
    /// The next stage goes without the finest scale.
    virtual void dropFinest() = 0;
    /// Gives back what the run needed.
    virtual void end() = 0;

    /// Windows of scale `i` that one call should take so that everything has work.
    virtual int64_t windowsAtOnce(size_t i) const = 0;
    /// A rectangle [rows, columns, dim] of the stem's tokens; those that are not valid do not
    /// matter.
    virtual void place(int64_t image, int64_t row, int64_t column, const at::Tensor& tokens) = 0;

    /// Maxima of the tokens of the windows [from, to) of scale `i` become tokens of scale i + 1;
    /// only valid tokens count (spec 4).
    virtual void poolTokens(size_t i, int64_t from, int64_t to) = 0;
    /// Tokens of scale `i` that are not valid become 0.
    virtual void clearInvalid(size_t i) = 0;
    /// Maxima of the windows [from, to) of scale `i`, as `block` sees them, wait for
    /// enter(block, i + 1). The finest scale has its position embedding added before; the others
    /// have been entered.
    virtual void pool(BlockId block, size_t i, int64_t from, int64_t to) = 0;
    /// Scale `i`, not the finest, gets its position embedding and the maxima of the finer scale
    /// (5.1 and 5.2).
    virtual void enter(BlockId block, size_t i) = 0;
    /// Top-down pass (5.3), or what a block with external attention does, of the windows [from, to)
    /// of scale `i`; the finest gets its position embedding first. `source`: where the finest
    /// tokens are read from in the host's memory; null: where they are written to.
    virtual void topDown(BlockId block, size_t i, int64_t from, int64_t to, const float* source,
                         const AttentionRecord& record) = 0;
    /// Keys and values of the windows [from, to) of scale `i` for the finer scales. A block with
    /// external attention has none.
    virtual void share(BlockId block, size_t i, int64_t from, int64_t to) = 0;
    /// Finer-to-coarser pass (5.4): the windows [from, to) of scale `i` and the tiles over them of
    /// scale i + 1, whose tokens are updated. A block with external attention has no such pass.
    virtual void upwards(BlockId block, size_t i, int64_t from, int64_t to,
                         const AttentionRecord& record) = 0;
    /// Which children poolTokens() (no `block`) or pool() took, by the share of channels; of the
    /// first image. Throws ModelError where the engine does not follow attention.
    virtual std::vector<AttentionFlow::Edge> poolEdges(const BlockId* block, size_t i) const = 0;

    /// Tokens [to - from, tokens, dim] of windows of scale `i`, float32, where they are computed
    /// on.
    virtual at::Tensor tokens(size_t i, int64_t from, int64_t to) const = 0;
    /// Tokens of windows of scale `i` to and from host memory, [to - from, tokens, stride].
    virtual void save(size_t i, int64_t from, int64_t to, float* out) const = 0;
    virtual void load(size_t i, int64_t from, int64_t to, const float* in) = 0;
};

/// Copies a rectangle [rows, columns, dim] of tokens, on the processor, to the windows of `layout`
/// whose tokens are `stride` floats apart; those that are not valid are left out.
void placeTokens(const TokenScale& layout, int64_t image, int64_t row, int64_t column,
                 const at::Tensor& tokens, float* windows, int64_t stride);

}  // namespace atlas::engine
