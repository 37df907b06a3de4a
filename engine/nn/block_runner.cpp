// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/block_runner.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <cmath>
#include <limits>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr float kNormEps = 1e-5f;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
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
    pool(i, nullptr, scales_[i + 1].tokens, from, to);
}

void BlockRunner::pool(BlockId block, size_t i, int64_t from, int64_t to) {
    pool(i, positionBefore(packed(block), i), scales_[i + 1].pooled.data(), from, to);
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
    std::vector<AttentionTask> tasks;
    Sources sources;
    int64_t keysEach = 0;
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
        std::vector<KeySource> seen{{i, slot}};
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
        tasks.push_back(task);
        sources.push_back(std::move(seen));
        int64_t keys = 0;
        for (int s = 0; s < task.segments; ++s) keys += task.segment[s].count;
        keysEach = std::max(keysEach, keys);
    }
    if (record.maps) {
        const int64_t heads = block.heads(), windows = to - from;
        mass_ = AlignedFloats(windows * heads * kMostKeySegments * tokens);
        received_ = AlignedFloats(windows * heads * keysEach);
    }
    attend(team, tasks, block.heads(), record.maps ? received_.data() : nullptr, keysEach,
           record.maps ? mass_.data() : nullptr);
    if (record.maps) this->record(record, i, from, sources, tasks, keysEach, block.heads());
    if (record.probe) recordProbe(record, i, from, to, sources, tasks, block.heads());
    if (record.flow) {
        std::vector<std::vector<int64_t>> queries;
        for (int64_t slot = from; slot < to; ++slot) {
            queries.emplace_back();
            for (int64_t t = 0; t < tokens; ++t) queries.back().push_back(placeOf(layout, slot, t));
        }
        recordFlow(record, static_cast<int64_t>(i), false, queries, sources, tasks, block.heads());
    }
}

/// Attention of the windows' queries to the block's memories.
void BlockRunner::recall(Member& team, const PackedBlock& block, size_t i, int64_t from, int64_t to,
                         const AttentionRecord& record) {
    const TokenScale& layout = *scales_[i].layout;
    Buffers& buffers = buffersOf(team);
    const auto& memory = *block.memory();
    const int64_t tokens = layout.tokens(), heads = block.heads(), size = dim_ / heads;
    const int64_t wide = memory.keys.out, width = memory.values.out;
    if (record.maps) received_ = AlignedFloats((to - from) * heads * tokens);
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
        task.received = record.maps ? received_.data() + item * tokens : nullptr;
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
    std::vector<float> received(static_cast<size_t>(tokens));
    for (int64_t slot = from; slot < to; ++slot) {
        for (int64_t t = 0; t < tokens; ++t) {
            float sum = 0;
            for (int64_t h = 0; h < heads; ++h)
                sum += received_.data()[((slot - from) * heads + h) * tokens + t];
            received[static_cast<size_t>(t)] = sum / static_cast<float>(heads);
        }
        record.addMass(scale, scale, slot, ones.data());
        record.addReceived(scale, scale, slot, received.data());
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
    const int64_t tokens = fine.tokens(), tile = side * side, heads = block.heads();
    AlignedFloats& keyValue = buffersOf(team).keyValue;
    keyValue.atLeast((to - from) * tokens * 2 * stride_);
    project(team, block.set(i).kv, scales_[i].tokens + from * tokens * stride_, keyValue.data(),
            (to - from) * tokens);
    std::vector<AttentionTask> tasks;
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
        tasks.push_back(task);
    }
    if (record.maps) received_ = AlignedFloats((to - from) * heads * tokens);
    attend(team, tasks, heads, record.maps ? received_.data() : nullptr, tokens, nullptr);
    if (record.flow) {
        const int64_t across = scales_[i + 1].layout->geometry.side;
        std::vector<std::vector<int64_t>> queries;
        Sources sources;
        for (int64_t slot = from; slot < to; ++slot) {
            queries.emplace_back();
            sources.push_back({{i, slot}});
            const auto& window = fine.windows[static_cast<size_t>(slot)];
            for (int64_t t = 0; t < tile; ++t)
                queries.back().push_back((window.row * side + t / side) * across +
                                         window.column * side + t % side);
        }
        recordFlow(record, static_cast<int64_t>(i) + 1, true, queries, sources, tasks, heads);
    }
    if (!record.maps) return;
    const auto k = static_cast<int64_t>(i);
    std::vector<float> mean(static_cast<size_t>(tokens));
    for (int64_t slot = from; slot < to; ++slot) {
        std::fill(mean.begin(), mean.end(), 0.0f);
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t t = 0; t < tokens; ++t)
                mean[static_cast<size_t>(t)] +=
                    received_.data()[((slot - from) * heads + h) * tokens + t] /
                    static_cast<float>(heads);
        record.addReceived(k + 1, k, slot, mean.data());
    }
}

/// Every window and head is one piece of work.
void BlockRunner::attend(Member& team, const std::vector<AttentionTask>& windows, int64_t heads,
                         float* received, int64_t keysEach, float* mass) {
    const int64_t size = dim_ / heads;
    team.share(static_cast<int64_t>(windows.size()) * heads, [&](int64_t item) {
        AttentionTask task = windows[static_cast<size_t>(item / heads)];
        const int64_t offset = item % heads * size;
        task.q += offset;
        task.out += offset;
        for (int s = 0; s < task.segments; ++s) {
            task.segment[s].k += offset;
            task.segment[s].v += offset;
        }
        task.headSize = static_cast<int>(size);
        task.scale = 1 / std::sqrt(static_cast<float>(size));
        if (received) task.received = received + item * keysEach;
        if (mass) task.mass = mass + item * kMostKeySegments * task.queries;
        task.scratch = threadScratch(attentionScratch(task));
        kernels_.attention(task);
    });
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

/// `position`, where given, is added before. A tile of `pooled` belongs to one window alone.
void BlockRunner::pool(size_t i, const float* position, float* pooled, int64_t from,
                       int64_t to) const {
    const TokenScale &fine = *scales_[i].layout, &coarse = *scales_[i + 1].layout;
    const float* tokens = scales_[i].tokens;
    const auto& g = fine.geometry;
    const int64_t side = g.window / ratio_;  // of the tile in the coarse scale
    at::parallel_for(from, to, 1, [&](int64_t begin, int64_t end) {
        float* sum = threadScratch(stride_);
        for (int64_t slot = begin; slot < end; ++slot) {
            const auto& w = fine.windows[static_cast<size_t>(slot)];
            const TokenTile place = coarse.tile(w.image, w.row, w.column, side);
            const uint8_t* valid = fine.validOf(slot);
            float* tile = pooled + (place.slot * coarse.tokens() +
                                    place.row * coarse.geometry.window + place.column) *
                                       stride_;
            const int64_t line = coarse.geometry.window * stride_;
            for (int64_t y = 0; y < side; ++y)
                std::fill_n(tile + y * line, side * stride_, kLowest);
            for (int64_t y = 0; y < g.window; ++y)
                for (int64_t x = 0; x < g.window; ++x) {
                    const int64_t token = y * g.window + x;
                    if (valid && !valid[token]) continue;
                    float* cell = tile + y / ratio_ * line + x / ratio_ * stride_;
                    const float* value = tokens + (slot * fine.tokens() + token) * stride_;
                    if (position) {
                        kernels_.add(value, stride_, position + token * stride_, stride_, sum,
                                     stride_, 1, stride_);
                        value = sum;
                    }
                    kernels_.maximum(cell, value, stride_);
                }
        }
    });
}

void BlockRunner::record(const AttentionRecord& record, size_t i, int64_t from,
                         const Sources& sources, const std::vector<AttentionTask>& tasks,
                         int64_t keysEach, int64_t heads) {
    const int64_t tokens = scales_[i].layout->tokens();
    const auto q = static_cast<int64_t>(i);
    const float share = 1 / static_cast<float>(heads);
    record.makeMaps(q);
    for (size_t n = 0; n < tasks.size(); ++n) {
        const AttentionTask& task = tasks[n];
        const int64_t slot = from + static_cast<int64_t>(n);
        int64_t firstKey = 0;
        for (int s = 0; s < task.segments; ++s) {
            const KeySource& source = sources[n][static_cast<size_t>(s)];
            const auto k = static_cast<int64_t>(source.scale);
            const int64_t count = task.segment[s].count;
            std::vector<float> mass(static_cast<size_t>(tokens), 0),
                received(static_cast<size_t>(count), 0);
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t item = static_cast<int64_t>(n) * heads + h;
                const float* m = mass_.data() + (item * kMostKeySegments + s) * tokens;
                const float* r = received_.data() + item * keysEach + firstKey;
                for (int64_t t = 0; t < tokens; ++t) mass[static_cast<size_t>(t)] += m[t] * share;
                for (int64_t t = 0; t < count; ++t)
                    received[static_cast<size_t>(t)] += r[t] * share;
            }
            record.addMass(q, k, slot, mass.data());
            record.addReceived(q, k, source.slot, received.data());
            firstKey += count;
        }
    }
}

void BlockRunner::recordProbe(const AttentionRecord& record, size_t i, int64_t from, int64_t to,
                              const Sources& sources, const std::vector<AttentionTask>& tasks,
                              int64_t heads) {
    const TokenScale& layout = *scales_[i].layout;
    const auto& g = layout.geometry;
    const ProbePoint& at = *record.probe;
    if (at.scale != record.first + static_cast<int64_t>(i) || at.row < 0 || at.column < 0 ||
        at.row >= g.side || at.column >= g.side)
        return;
    const int64_t slot = layout.slot(0, at.row / g.window, at.column / g.window);
    if (slot < from || slot >= to) return;
    const auto n = static_cast<size_t>(slot - from);
    const int64_t token = at.row % g.window * g.window + at.column % g.window;
    int64_t keys = 0;
    for (int s = 0; s < tasks[n].segments; ++s) keys += tasks[n].segment[s].count;
    std::vector<float> weights(static_cast<size_t>(keys), 0);
    const int64_t firstHead = std::max<int64_t>(0, at.head),
                  lastHead = at.head < 0 ? heads : std::min(heads, at.head + 1);
    for (int64_t h = firstHead; h < lastHead; ++h)
        weightsOf(tasks[n], token, h, heads, weights.data());
    for (float& w : weights) w /= static_cast<float>(std::max<int64_t>(1, lastHead - firstHead));
    const float* value = weights.data();
    for (int s = 0; s < tasks[n].segments; ++s) {
        const KeySource& source = sources[n][static_cast<size_t>(s)];
        record.setProbe(static_cast<int64_t>(source.scale), source.slot, value);
        value += tasks[n].segment[s].count;
    }
}

/// Adds the softmax of one query and head to `weights`, over the keys of all segments.
void BlockRunner::weightsOf(AttentionTask task, int64_t query, int64_t head, int64_t heads,
                            float* weights) const {
    const int64_t size = dim_ / heads, offset = head * size;
    task.q += query * stride_ + offset;
    task.queries = 1;
    task.headSize = static_cast<int>(size);
    task.scale = 1 / std::sqrt(static_cast<float>(size));
    for (int s = 0; s < task.segments; ++s) {
        task.segment[s].k += offset;
        task.segment[s].v += offset;
    }
    task.validQuery = nullptr;
    task.received = weights;
    float* scratch = threadScratch(attentionScratch(task) + dim_);
    task.out = scratch + attentionScratch(task);  // not wanted
    task.scratch = scratch;
    kernels_.attention(task);
}

/// `queries`: places in the raster map of the tokens of each task. Of the first image.
void BlockRunner::recordFlow(const AttentionRecord& record, int64_t scale, bool upwards,
                             const std::vector<std::vector<int64_t>>& queries,
                             const Sources& sources, const std::vector<AttentionTask>& tasks,
                             int64_t heads) {
    std::vector<AttentionFlow::Window> windows(tasks.size());
    at::parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
        for (auto n = static_cast<size_t>(begin); n < static_cast<size_t>(end); ++n) {
            auto& window = windows[n];
            for (const KeySource& source : sources[n]) {
                const TokenScale& seen = *scales_[source.scale].layout;
                for (int64_t t = 0; t < seen.tokens(); ++t)
                    window.keys.push_back({record.first + static_cast<int64_t>(source.scale),
                                           placeOf(seen, source.slot, t)});
            }
            std::vector<float> weights(window.keys.size());
            for (size_t q = 0; q < queries[n].size(); ++q) {
                if (tasks[n].validQuery && !tasks[n].validQuery[q]) continue;
                std::fill(weights.begin(), weights.end(), 0.0f);
                for (int64_t h = 0; h < heads; ++h)
                    weightsOf(tasks[n], static_cast<int64_t>(q), h, heads, weights.data());
                window.queries.push_back(queries[n][q]);
                for (float w : weights) window.weights.push_back(w / static_cast<float>(heads));
            }
        }
    });
    for (auto& window : windows)
        record.flow->add(record.stage, record.block, upwards, record.first + scale,
                         std::move(window));
}

std::vector<AttentionFlow::Edge> BlockRunner::poolEdges(const BlockId* block, size_t i) const {
    const TokenScale &fine = *scales_[i].layout, &coarse = *scales_[i + 1].layout;
    const float* tokens = scales_[i].tokens;
    const float* position = block ? positionBefore(packed(*block), i) : nullptr;
    const auto& g = fine.geometry;
    std::vector<AttentionFlow::Edge> edges;
    const auto valueAt = [&](int64_t slot, int64_t token, int64_t channel) {
        const float v = tokens[(slot * fine.tokens() + token) * stride_ + channel];
        return position ? v + position[token * stride_ + channel] : v;
    };
    for (int64_t slot = 0; slot < fine.slots(); ++slot) {
        const uint8_t* valid = fine.validOf(slot);
        const auto& w = fine.windows[static_cast<size_t>(slot)];
        for (int64_t cell = 0; cell < g.tokensPerWindow() / (ratio_ * ratio_); ++cell) {
            const int64_t across = g.window / ratio_, cy = cell / across, cx = cell % across;
            std::vector<int64_t> children;
            for (int64_t c = 0; c < ratio_ * ratio_; ++c) {
                const int64_t token =
                    (cy * ratio_ + c / ratio_) * g.window + cx * ratio_ + c % ratio_;
                if (!valid || valid[token]) children.push_back(token);
            }
            if (children.empty()) continue;
            std::vector<int64_t> wins(children.size());
            for (int64_t channel = 0; channel < dim_; ++channel) {
                size_t best = 0;
                for (size_t c = 1; c < children.size(); ++c)
                    if (valueAt(slot, children[c], channel) >
                        valueAt(slot, children[best], channel))
                        best = c;
                ++wins[best];
            }
            const int64_t parent =
                (w.row * across + cy) * coarse.geometry.side + w.column * across + cx;
            for (size_t c = 0; c < children.size(); ++c)
                if (wins[c] > 0)
                    edges.push_back({placeOf(fine, slot, children[c]), parent,
                                     static_cast<float>(wins[c]) / static_cast<float>(dim_)});
        }
    }
    return edges;
}

}  // namespace atlas::engine
