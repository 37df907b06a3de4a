// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/block_runner.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>

#include "engine/nn/window_attention.h"

namespace atlas::engine {
namespace {

constexpr float kNormEps = 1e-5f;
constexpr int64_t kRowsPerThread = 512;    // tokens of a call, at least
constexpr int64_t kChunkFloats = 1 << 20;  // of one buffer of a call, at least
constexpr int64_t kRowsTogether = 256;     // tokens that one thread takes at a time
constexpr int64_t kRowsOfAPiece = 32;      // of what needs little time

/// Equal runs of rows, one after the other.
void eachChunk(int64_t rows, int64_t most, const std::function<void(int64_t, int64_t)>& work) {
    // A little more than `most` is better than one part more, which reads the weights again.
    const int64_t parts = std::max<int64_t>(1, (rows + most - most / 8 - 1) / most);
    for (int64_t i = 0; i < parts; ++i) {
        const int64_t first = rows * i / parts;
        work(first, rows * (i + 1) / parts - first);
    }
}

/// Runs of at most kRowsOfAPiece rows, by whoever has time.
void sharePieces(WorkTeam::Member& team, int64_t rows,
                 const std::function<void(int64_t, int64_t)>& work) {
    const int64_t pieces = (rows + kRowsOfAPiece - 1) / kRowsOfAPiece;
    team.share(pieces, [&](int64_t piece) {
        const int64_t first = piece * kRowsOfAPiece;
        work(first, std::min(kRowsOfAPiece, rows - first));
    });
}

/// Windows of so many rows that a thread takes at a time.
int64_t windowsOf(int64_t rows) {
    return std::max<int64_t>(1, kRowsTogether / rows);
}

/// Rows of a chunk that the threads of an item work on together, where `most` suit one.
int64_t rowsFor(const WorkTeam::Member& team, int64_t most) {
    return most * team.crew();
}

}  // namespace

BlockRunner::BlockRunner(const CpuKernels& kernels, const PackedStages& stages,
                         const AtlasConfig& config)
    : kernels_(kernels),
      stages_(stages),
      dim_(config.dim),
      stride_(paddedChannels(config.dim)),
      ratio_(config.poolRatio),
      mapping_(config.mapping) {}

int64_t BlockRunner::hostBytes(const std::vector<TokenScale>& layouts) const {
    int64_t tokens = 0;
    for (size_t s = 1; s < layouts.size(); ++s) tokens += layouts[s].slots() * layouts[s].tokens();
    return 4 * tokens * stride_ * static_cast<int64_t>(sizeof(float));
}

void BlockRunner::begin(const std::vector<TokenScale>& layouts, float* finest) {
    scales_.clear();
    for (const TokenScale& layout : layouts) {
        Scale scale;
        scale.layout = &layout;
        const int64_t floats = layout.slots() * layout.tokens() * stride_;
        if (!scales_.empty()) {
            scale.own = AlignedFloats(floats);
            scale.pooled = AlignedFloats(floats);
        }
        scale.tokens = scales_.empty() ? finest : scale.own.data();
        scales_.push_back(std::move(scale));
    }
}

void BlockRunner::dropFinest() {
    scales_.erase(scales_.begin());
    scales_[0].pooled = AlignedFloats();
    scales_[0].shared = AlignedFloats();
}

int64_t BlockRunner::windowsAtOnce(size_t i) const {
    const int64_t threads = at::get_num_threads();
    const int64_t tokens = std::max(kRowsPerThread * threads, kChunkFloats / stride_);
    const int64_t windows = std::max<int64_t>(1, tokens / scales_[i].layout->tokens());
    const int64_t shared = 2 * threads;  // so that a slow thread finds a fast one to help it
    return (windows + shared - 1) / shared * shared;
}

void BlockRunner::place(int64_t image, int64_t row, int64_t column, const at::Tensor& tokens) {
    placeTokens(*scales_[0].layout, image, row, column, tokens, scales_[0].tokens, stride_);
}

void BlockRunner::poolTokens(size_t i, int64_t from, int64_t to) {
    poolOf(i, nullptr).run(scales_[i + 1].tokens, from, to);
}

void BlockRunner::pool(BlockId block, size_t i, int64_t from, int64_t to) {
    poolOf(i, positionBefore(packed(block), i)).run(scales_[i + 1].pooled.data(), from, to);
}

void BlockRunner::enter(BlockId block, size_t i) {
    Scale& scale = scales_[i];
    const TokenScale& layout = *scale.layout;
    const float* p = packed(block).position(i, layout.geometry.window);
    const int64_t each = layout.tokens() * stride_;
    at::parallel_for(0, layout.slots(), 4, [&](int64_t begin, int64_t end) {
        for (int64_t slot = begin; slot < end; ++slot) {
            float* x = scale.tokens + slot * each;
            kernels_.add(x, each, p, each, x, each, 1, each);
            kernels_.add(x, each, scale.pooled.data() + slot * each, each, x, each, 1, each);
        }
    });
    clearInvalid(i);
}

at::Tensor BlockRunner::tokens(size_t i, int64_t from, int64_t to) const {
    const int64_t tokens = scales_[i].layout->tokens();
    return at::from_blob(scales_[i].tokens + from * tokens * stride_, {to - from, tokens, dim_},
                         {tokens * stride_, stride_, 1}, at::TensorOptions().dtype(at::kFloat));
}

void BlockRunner::save(size_t i, int64_t from, int64_t to, float* out) const {
    const int64_t each = scales_[i].layout->tokens() * stride_;
    std::copy_n(scales_[i].tokens + from * each, (to - from) * each, out);
}

void BlockRunner::load(size_t i, int64_t from, int64_t to, const float* in) {
    const int64_t each = scales_[i].layout->tokens() * stride_;
    std::copy_n(in, (to - from) * each, scales_[i].tokens + from * each);
}

/// Windows that share nothing but their parents are shared out among the threads, `together` at a
/// time, whose buffers stay in the cache.
void BlockRunner::eachGroup(int64_t from, int64_t to, int64_t together,
                            const std::function<void(Member&, int64_t, int64_t)>& work) {
    const int64_t groups = (to - from + together - 1) / together;
    buffers_.resize(std::max(buffers_.size(), static_cast<size_t>(WorkTeam::membersFor(groups))));
    WorkTeam::run(groups, [&](Member& team, int64_t g) {
        work(team, from + g * together, std::min(to, from + (g + 1) * together));
    });
}

/// What is recorded needs the products of all windows at once.
int64_t BlockRunner::windowsTogether(size_t i, int64_t from, int64_t to,
                                     const AttentionRecord& record) const {
    const bool recorded = record.maps || record.probe || record.flow;
    return recorded ? std::max<int64_t>(1, to - from) : windowsOf(scales_[i].layout->tokens());
}

void BlockRunner::topDown(BlockId id, size_t i, int64_t from, int64_t to, const float* source,
                          const AttentionRecord& record) {
    const PackedBlock& block = packed(id);
    const float* position = positionBefore(block, i);
    const int64_t together = windowsTogether(i, from, to, record);
    eachGroup(from, to, together, [&](Member& team, int64_t first, int64_t end) {
        topDownOf(team, block, i, first, end, source, position, record);
    });
}

void BlockRunner::topDownOf(Member& team, const PackedBlock& block, size_t i, int64_t from,
                            int64_t to, const float* source, const float* position,
                            const AttentionRecord& record) {
    const TokenScale& layout = *scales_[i].layout;
    const auto& set = block.set(i);
    const int64_t tokens = layout.tokens(), rows = (to - from) * tokens;
    float* x = scales_[i].tokens + from * tokens * stride_;
    const float* read = source ? source + from * tokens * stride_ : x;
    Buffers& buffers = buffersOf(team);
    buffers.query.atLeast(rows * stride_);
    buffers.keyValue.atLeast(rows * 2 * stride_);
    buffers.attended.atLeast(rows * stride_);
    eachChunk(rows, rowsFor(team, rowsInCache(2 * stride_)), [&](int64_t first, int64_t count) {
        if (position || read != x)
            sharePieces(team, count, [&](int64_t piece, int64_t pieceRows) {
                const int64_t end = first + piece + pieceRows;
                for (int64_t r = first + piece; r < end;) {
                    const int64_t inWindow = r % tokens;
                    const int64_t run = std::min(end - r, tokens - inWindow);
                    if (position)
                        kernels_.add(read + r * stride_, stride_, position + inWindow * stride_,
                                     stride_, x + r * stride_, stride_, run, stride_);
                    else
                        std::copy_n(read + r * stride_, run * stride_, x + r * stride_);
                    r += run;
                }
            });
        const auto normed = normalise(team, set.q, x + first * stride_, count);
        team.share(set.q.pieces(normed), [&](int64_t piece) {
            set.q.applyPiece(piece, kernels_, normed, buffers.query.data() + first * stride_,
                             stride_);
        });
        if (block.memory()) return;
        team.share(set.kv.pieces(normed), [&](int64_t piece) {
            set.kv.applyPiece(piece, kernels_, normed,
                              buffers.keyValue.data() + first * 2 * stride_, 2 * stride_);
        });
    });
    if (block.memory())
        recall(team, block, i, from, to, record);
    else
        lookAround(team, block, i, from, to, record);
    finish(team, set, x, buffers.attended.data(), rows);
    clearInvalid(i, from, to);
}

/// LayerNorm without scale and shift of a chunk of rows for `layer`, in the member's buffer.
PackedLinear::Rows BlockRunner::normalise(Member& team, const PackedLinear& layer, const float* x,
                                          int64_t rows) {
    const int64_t wide = stride_ + kChannelGroup;
    Buffers& buffers = buffersOf(team);
    buffers.normed.atLeast(rows * wide);
    float* normed = buffers.normed.data();
    sharePieces(team, rows, [&](int64_t first, int64_t count) {
        kernels_.normalise(x + first * stride_, stride_, normed + first * wide, wide, count,
                           static_cast<int>(dim_), kNormEps);
    });
    return ready(team, layer, normed, wide, rows);
}

/// Rows as `layer` reads them.
PackedLinear::Rows BlockRunner::ready(Member& team, const PackedLinear& layer, const float* x,
                                      int64_t stride, int64_t rows) {
    PackedLinear::Rows ready{x, stride, rows};
    ready.parts = std::clamp<int64_t>(rows / kRowsOfAPiece, 1, team.crew());
    if (layer.pairs.empty()) return ready;
    AlignedFloats& buffer = buffersOf(team).tiles;
    buffer.atLeast(bf16Floats(rows, layer.in));
    auto* tiles = reinterpret_cast<uint16_t*>(buffer.data());
    ready.tiles = tiles;
    static_assert(kRowsOfAPiece % (2 * kBf16Rows) == 0);
    sharePieces(team, rows, [&](int64_t first, int64_t count) {
        kernels_.packRowsBf16(x + first * stride, stride, count, static_cast<int>(layer.in),
                              tiles + 2 * bf16Floats(first, layer.in));
    });
    return ready;
}

/// Rows through a LayerNorm and `layer`.
void BlockRunner::project(Member& team, const PackedLinear& layer, const float* x, float* to,
                          int64_t rows) {
    eachChunk(rows, rowsFor(team, rowsInCache(2 * stride_)), [&](int64_t first, int64_t count) {
        const auto normed = normalise(team, layer, x + first * stride_, count);
        team.share(layer.pieces(normed), [&](int64_t piece) {
            layer.applyPiece(piece, kernels_, normed, to + first * layer.out, layer.out);
        });
    });
}

/// Attention of the windows' queries to their own window and its parents.
void BlockRunner::lookAround(Member& team, const PackedBlock& block, size_t i, int64_t from,
                             int64_t to, const AttentionRecord& record) {
    const TokenScale& layout = *scales_[i].layout;
    Buffers& buffers = buffersOf(team);
    const int64_t tokens = layout.tokens();
    WindowAttention attention(kernels_, dim_, block.heads());
    for (int64_t slot = from; slot < to; ++slot) {
        const auto& window = layout.windows[static_cast<size_t>(slot)];
        AttentionTask task;
        const int64_t row = (slot - from) * tokens;
        task.q = buffers.query.data() + row * stride_;
        task.queryStride = task.outStride = stride_;
        task.queries = static_cast<int>(tokens);
        task.out = buffers.attended.data() + row * stride_;
        const float* own = buffers.keyValue.data() + row * 2 * stride_;
        task.segment[task.segments++] = {own, own + stride_, 2 * stride_, static_cast<int>(tokens),
                                         layout.validOf(slot)};
        std::vector<WindowAttention::KeySource> seen{{i, slot}};
        for (size_t t = scales_.size() - 1; t > i; --t) {
            if (record.isOff(static_cast<int64_t>(t))) continue;
            const TokenScale& coarse = *scales_[t].layout;
            const int64_t parent =
                parentWindow(window.row * layout.geometry.rows + window.column,
                             layout.geometry.rows, coarse.geometry.rows, mapping_);
            const int64_t place = coarse.slot(window.image, parent / coarse.geometry.rows,
                                              parent % coarse.geometry.rows);
            if (place < 0) continue;  // a parent without valid tokens, with raster mapping
            const float* kv = scales_[t].shared.data() + place * coarse.tokens() * 2 * stride_;
            task.segment[task.segments++] = {kv, kv + stride_, 2 * stride_,
                                             static_cast<int>(coarse.tokens()),
                                             coarse.validOf(place)};
            seen.push_back({t, place});
        }
        task.validQuery = layout.validOf(slot);
        attention.add(task, std::move(seen));
    }
    attention.run(team, record.maps);
    attention.recordTopDown(record);
}

/// Attention of the windows' queries to the block's memories.
void BlockRunner::recall(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                         const AttentionRecord& record) {
    const TokenScale& layout = *scales_[i].layout;
    Buffers& buffers = buffersOf(team);
    const auto& memory = *block.memory();
    const int64_t tokens = layout.tokens(), heads = block.heads(), size = dim_ / heads;
    const int64_t wide = memory.keys.out, width = memory.values.out;
    AlignedFloats received;
    if (record.maps) received = AlignedFloats((to - from) * heads * tokens);
    team.share((to - from) * heads, [&](int64_t item) {
        float* scores = threadScratch(tokens * (wide + width) + 2 * wide);
        float* results = scores + tokens * wide;
        const int64_t place = item / heads * tokens * stride_ + item % heads * size;
        memory.keys.apply(kernels_, buffers.query.data() + place, stride_, scores, wide, tokens);
        MemoryTask task;
        task.scores = scores;
        task.stride = wide;
        task.tokens = tokens;
        task.slots = static_cast<int>(memory.slots);
        task.valid = layout.validOf(from + item / heads);
        task.received = record.maps ? received.data() + item * tokens : nullptr;
        task.scratch = results + tokens * width;
        kernels_.normaliseTwice(task);
        memory.values.apply(kernels_, scores, wide, results, width, tokens);
        for (int64_t t = 0; t < tokens; ++t)
            std::copy_n(results + t * width, size, buffers.attended.data() + place + t * stride_);
    });
    const auto scale = static_cast<int64_t>(i);
    if (record.flow) record.flow->addIdentity(record.stage, record.block, record.first + scale);
    if (!record.maps) return;
    record.makeMaps(scale);
    const std::vector<float> ones(static_cast<size_t>(tokens), 1);
    for (int64_t slot = from; slot < to; ++slot) {
        record.addMass(scale, scale, slot, ones.data());
        record.addReceived(
            scale, scale, slot,
            meanOfHeads(received.data() + (slot - from) * heads * tokens, heads, tokens, tokens)
                .data());
    }
}

void BlockRunner::share(BlockId id, size_t i, int64_t from, int64_t to) {
    const PackedBlock& block = packed(id);
    if (block.memory()) return;
    Scale& scale = scales_[i];
    const int64_t tokens = scale.layout->tokens();
    scale.shared.atLeast(scale.layout->slots() * tokens * 2 * stride_);
    eachGroup(from, to, windowsOf(tokens), [&](Member& team, int64_t first, int64_t end) {
        project(team, block.set(i).kv, scale.tokens + first * tokens * stride_,
                scale.shared.data() + first * tokens * 2 * stride_, (end - first) * tokens);
    });
}

/// Each tile belongs to one window alone: it is copied out, worked on and put back.
void BlockRunner::upwards(BlockId id, size_t i, int64_t from, int64_t to,
                          const AttentionRecord& record) {
    const PackedBlock& block = packed(id);
    if (block.memory()) return;
    const TokenScale& fine = *scales_[i].layout;
    const TokenScale& coarse = *scales_[i + 1].layout;
    const int64_t side = coarse.geometry.side / fine.geometry.rows, tile = side * side;
    const int64_t rows = (to - from) * tile;
    const auto& set = block.set(i + 1);
    tiles_.tokens.atLeast(rows * stride_);
    tiles_.query.atLeast(rows * stride_);
    tiles_.attended.atLeast(rows * stride_);
    tiles_.valid.resize(static_cast<size_t>(rows));
    const auto eachLine = [&](int64_t slot, const auto& work) {
        const auto& window = fine.windows[static_cast<size_t>(slot)];
        const TokenTile place = coarse.tile(window.image, window.row, window.column, side);
        for (int64_t y = 0; y < side; ++y)
            work(place.slot * coarse.tokens() + (place.row + y) * coarse.geometry.window +
                     place.column,
                 (slot - from) * tile + y * side);
    };
    eachGroup(from, to, windowsOf(tile), [&](Member& team, int64_t first, int64_t end) {
        for (int64_t slot = first; slot < end; ++slot)
            eachLine(slot, [&](int64_t token, int64_t row) {
                std::copy_n(scales_[i + 1].tokens + token * stride_, side * stride_,
                            tiles_.tokens.data() + row * stride_);
                std::copy_n(coarse.valid.data() + token, side, tiles_.valid.data() + row);
            });
        const int64_t at = (first - from) * tile * stride_;
        project(team, set.q, tiles_.tokens.data() + at, tiles_.query.data() + at,
                (end - first) * tile);
    });
    if (record.isOff(static_cast<int64_t>(i)))  // no keys: the projection's bias alone
        std::fill_n(tiles_.attended.data(), rows * stride_, 0.0f);
    else
        eachGroup(from, to, windowsTogether(i, from, to, record),
                  [&](Member& team, int64_t first, int64_t end) {
                      lookDown(team, block, i, first, end, (first - from) * tile, side, record);
                  });
    eachGroup(from, to, windowsOf(tile), [&](Member& team, int64_t first, int64_t end) {
        const int64_t at = (first - from) * tile * stride_;
        finish(team, set, tiles_.tokens.data() + at, tiles_.attended.data() + at,
               (end - first) * tile);
        for (int64_t slot = first; slot < end; ++slot)
            eachLine(slot, [&](int64_t token, int64_t row) {
                for (int64_t c = 0; c < side; ++c)
                    if (tiles_.valid[static_cast<size_t>(row + c)])
                        std::copy_n(tiles_.tokens.data() + (row + c) * stride_, stride_,
                                    scales_[i + 1].tokens + (token + c) * stride_);
            });
    });
}

/// Attention of the tiles over the windows [from, to) of scale `i` to those windows. `row`: of
/// tiles_, where the first one begins.
void BlockRunner::lookDown(Member& team, const PackedBlock& block, size_t i, int64_t from,
                           int64_t to, int64_t row, int64_t side, const AttentionRecord& record) {
    const TokenScale& fine = *scales_[i].layout;
    const int64_t tokens = fine.tokens(), tile = side * side;
    AlignedFloats& keyValue = buffersOf(team).keyValue;
    keyValue.atLeast((to - from) * tokens * 2 * stride_);
    project(team, block.set(i).kv, scales_[i].tokens + from * tokens * stride_, keyValue.data(),
            (to - from) * tokens);
    WindowAttention attention(kernels_, dim_, block.heads());
    for (int64_t slot = from; slot < to; ++slot, row += tile) {
        AttentionTask task;
        task.q = tiles_.query.data() + row * stride_;
        task.queryStride = task.outStride = stride_;
        task.queries = static_cast<int>(tile);
        task.out = tiles_.attended.data() + row * stride_;
        const float* own = keyValue.data() + (slot - from) * tokens * 2 * stride_;
        task.segment[task.segments++] = {own, own + stride_, 2 * stride_, static_cast<int>(tokens),
                                         fine.validOf(slot)};
        task.validQuery = tiles_.valid.data() + row;
        attention.add(task, {{i, slot}});
    }
    attention.run(team, record.maps);
    attention.recordUpwards(record);
}

/// x + proj(A), then the MLP with its residual.
void BlockRunner::finish(Member& team, const PackedBlock::Set& set, float* tokens,
                         const float* attended, int64_t rows) {
    const int64_t hidden = set.fc1.out + kChannelGroup, wide = stride_ + kChannelGroup;
    Buffers& buffers = buffersOf(team);
    eachChunk(rows, rowsFor(team, rowsInCache(hidden)), [&](int64_t first, int64_t count) {
        buffers.normed.atLeast(count * wide);
        buffers.hidden.atLeast(count * hidden);
        float *between = buffers.normed.data(), *inner = buffers.hidden.data();
        float* x = tokens + first * stride_;
        const auto seen = ready(team, set.proj, attended + first * stride_, stride_, count);
        team.share(set.proj.pieces(seen), [&](int64_t piece) {
            set.proj.addPiece(piece, kernels_, seen, between, wide, x, stride_);
        });
        const auto normed = normalise(team, set.fc1, x, count);
        team.share(set.fc1.pieces(normed), [&](int64_t piece) {
            set.fc1.applyPiece(piece, kernels_, normed, inner, hidden, Activation::Gelu);
        });
        const auto active = ready(team, set.fc2, inner, hidden, count);
        team.share(set.fc2.pieces(active), [&](int64_t piece) {
            set.fc2.addPiece(piece, kernels_, active, between, wide, x, stride_);
        });
    });
}

void BlockRunner::clearInvalid(size_t i) {
    clearInvalid(i, 0, scales_[i].layout->slots());
}

void BlockRunner::clearInvalid(size_t i, int64_t from, int64_t to) {
    const TokenScale& layout = *scales_[i].layout;
    for (int64_t slot = from; slot < to; ++slot)
        if (const uint8_t* valid = layout.validOf(slot))
            for (int64_t t = 0; t < layout.tokens(); ++t)
                if (!valid[t])
                    std::fill_n(scales_[i].tokens + (slot * layout.tokens() + t) * stride_, stride_,
                                0.0f);
}

TokenPool BlockRunner::poolOf(size_t i, const float* position) const {
    return {kernels_,
            *scales_[i].layout,
            *scales_[i + 1].layout,
            ratio_,
            dim_,
            stride_,
            scales_[i].tokens,
            position};
}

std::vector<AttentionFlow::Edge> BlockRunner::poolEdges(const BlockId* block, size_t i) const {
    return poolOf(i, block ? positionBefore(packed(*block), i) : nullptr).edges();
}

}  // namespace atlas::engine
