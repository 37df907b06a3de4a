// SPDX-License-Identifier: Apache-2.0
// The program of one thread block of segmented attention, for tensor cores (16-bit elements, sums
// in float32), compiled for device and host alike.
//
// Idea: a block owns up to 128 queries of one window and head. Their keys, of all segments one
// after the other, come in tiles of 64 through two shared buffers, the next one on its way while
// one is used; the softmax is online, so one pass is enough. Logits never leave the registers: the
// accumulator of q k^T is, packed, the left operand of p v (as in FlashAttention-2, arXiv
// 2307.08691, section 3.2). Rows of 16 bytes are swizzled, so that neither copies nor ldmatrix
// meet bank conflicts.
//
// The machine is a policy (`Block`): cuda/cuda_block.h issues cp.async, ldmatrix and mma.sync;
// host_block.h does what the PTX manual says they do, lane by lane, in plain loops. So the tests
// run this very code, with its tables, masks, swizzles and register layouts, without a GPU. Code
// that belongs to one thread runs in block.each(); its registers are Block::Registers.
#pragma once

#include <cstdint>
#include <type_traits>

#include "engine/kernels/msa.h"

#ifdef __CUDACC__
#define ATLAS_HOST_DEVICE __host__ __device__
#define ATLAS_UNROLL _Pragma("unroll")
#define ATLAS_UNROLL_SOME _Pragma("unroll 2")
#else
#define ATLAS_HOST_DEVICE
#define ATLAS_UNROLL
#define ATLAS_UNROLL_SOME
#endif

namespace atlas::engine {

inline constexpr int kMsaColumns = 64;  ///< keys (of the received operation: queries) a step
inline constexpr float kMsaLog2e = 1.4426950408889634f, kMsaLn2 = 0.6931471805599453f;

/// Compile-time sizes of a block: each warp owns 16 * rowTiles rows.
template <int HeadDim, int Warps, int RowTiles>
struct MsaShape {
    static constexpr int headDim = HeadDim, warps = Warps, rowTiles = RowTiles;
    static constexpr int threads = 32 * Warps;
    static constexpr int warpRows = 16 * RowTiles;
    static constexpr int rows = warpRows * Warps;
    static constexpr int chunks = HeadDim / 8;  ///< of 16 bytes, a row
    /// Shared memory: the block's own rows, then two buffers of two tiles.
    static constexpr int ownBytes = rows * HeadDim * 2;
    static constexpr int tileBytes = kMsaColumns * HeadDim * 2;
    static constexpr int sharedBytes = ownBytes + 4 * tileBytes;
};

/// Calls f(MsaShape) for the shape that suits blocks of `rows` rows.
template <typename F>
auto msaWithShape(int headDim, int rows, F&& f) {
    if (headDim == 32) {
        if (rows <= 16) return f(MsaShape<32, 1, 1>());
        return rows <= 64 ? f(MsaShape<32, 4, 1>()) : f(MsaShape<32, 4, 2>());
    }
    if (headDim == 64) {
        if (rows <= 16) return f(MsaShape<64, 1, 1>());
        return rows <= 64 ? f(MsaShape<64, 4, 1>()) : f(MsaShape<64, 4, 2>());
    }
    return rows <= 16 ? f(MsaShape<128, 1, 1>()) : f(MsaShape<128, 4, 1>());
}

/// Byte offset of a 16-byte chunk within a tile: rows that one ldmatrix reads lie in other banks.
template <class Shape>
ATLAS_HOST_DEVICE constexpr int msaOffset(int row, int chunk) {
    constexpr int shift = Shape::chunks >= 8 ? 0 : (Shape::chunks == 4 ? 1 : 2);
    constexpr int mask = Shape::chunks >= 8 ? 7 : Shape::chunks - 1;
    return (row * Shape::chunks + (chunk ^ ((row >> shift) & mask))) * 16;
}

/// Rows of one head of one window.
struct MsaRows {
    const char* data = nullptr;
    int64_t stride = 0;  ///< bytes
    int count = 0;
};

ATLAS_HOST_DEVICE inline MsaRows msaRows(const AtlasMsaTensor& t, int64_t window, int head,
                                         int first, int count) {
    return {
        static_cast<const char*>(t.data) + 2 * (window * t.window + head * t.head + first * t.row),
        2 * t.row, count};
}

/// Which window of segment `s` the queries of `window` see.
ATLAS_HOST_DEVICE inline int64_t msaKeyWindow(const AtlasMsaSegment& s, int64_t window) {
    return s.keyWindow ? s.keyWindow[window] : window;
}

/// Walks over the key tiles of one query window, segment by segment.
struct MsaKeyTiles {
    int segment = 0;
    int first = 0;

    ATLAS_HOST_DEVICE bool valid(const AtlasMsaProblem& p) const { return segment < p.segments; }
    ATLAS_HOST_DEVICE void advance(const AtlasMsaProblem& p) {
        first += kMsaColumns;
        if (first < p.segment[segment].keysPerWindow) return;
        first = 0;
        ++segment;
    }
    ATLAS_HOST_DEVICE int count(const AtlasMsaProblem& p) const {
        const int left = p.segment[segment].keysPerWindow - first;
        return left < kMsaColumns ? left : kMsaColumns;
    }
};

/// Starts copying `rows` (at most Rows of them; the others become 0) to `offset` in shared memory.
template <int Rows, class Shape, class Block>
ATLAS_HOST_DEVICE void msaCopyRows(Block& block, int offset, const MsaRows& rows) {
    block.each([&](int thread) {
        ATLAS_UNROLL_SOME
        for (int i = 0; i < Rows * Shape::chunks / Shape::threads; ++i) {
            const int at = i * Shape::threads + thread;
            const int row = at / Shape::chunks, chunk = at % Shape::chunks;
            const bool present = row < rows.count;
            block.copyChunk(offset + msaOffset<Shape>(row, chunk),
                            rows.data + (present ? row * rows.stride + chunk * 16 : 0), present);
        }
    });
}

/// Left operands of all rows of a warp, channels in steps of 16: registers [rowTile][step][4].
template <class Shape, class Block, class Registers>
ATLAS_HOST_DEVICE void msaLoadOwn(Block& block, Registers& own) {
    ATLAS_UNROLL
    for (int t = 0; t < Shape::rowTiles; ++t) {
        ATLAS_UNROLL
        for (int step = 0; step < Shape::headDim / 16; ++step)
            block.template loadMatrices<false>(
                own, (t * (Shape::headDim / 16) + step) * 4, [&](int thread) {
                    const int lane = thread % 32, matrix = lane / 8;
                    const int row = thread / 32 * Shape::warpRows + t * 16 + matrix % 2 * 8;
                    return msaOffset<Shape>(row + lane % 8, step * 2 + matrix / 2);
                });
    }
}

/// scores [rowTile][column / 8][4] = own rows times the rows of the tile at `offset`.
template <class Element, class Shape, class Block, class Own, class Scores>
ATLAS_HOST_DEVICE void msaScores(Block& block, int offset, const Own& own, Scores& scores) {
    constexpr int steps = Shape::headDim / 16, groups = kMsaColumns / 8;
    block.each([&](int thread) {
        ATLAS_UNROLL
        for (int i = 0; i < Shape::rowTiles * groups * 4; ++i) scores.at(thread, i) = 0;
    });
    ATLAS_UNROLL
    for (int step = 0; step < steps; ++step) {
        ATLAS_UNROLL
        for (int pair = 0; pair < groups / 2; ++pair) {
            typename Block::template Registers<uint32_t, 4> b;
            block.template loadMatrices<false>(b, 0, [&](int thread) {
                const int lane = thread % 32, matrix = lane / 8;
                return offset + msaOffset<Shape>(pair * 16 + matrix / 2 * 8 + lane % 8,
                                                 step * 2 + matrix % 2);
            });
            ATLAS_UNROLL
            for (int t = 0; t < Shape::rowTiles; ++t) {
                block.template multiply<Element>(scores, (t * groups + 2 * pair) * 4, own,
                                                 (t * steps + step) * 4, b, 0);
                block.template multiply<Element>(scores, (t * groups + 2 * pair + 1) * 4, own,
                                                 (t * steps + step) * 4, b, 2);
            }
        }
    }
}

/// Column of scores register 2 * half + e of group g, and row of `half`, of this thread.
ATLAS_HOST_DEVICE constexpr int msaColumn(int thread, int group, int e) {
    return group * 8 + thread % 4 * 2 + e;
}
template <class Shape>
ATLAS_HOST_DEVICE constexpr int msaRow(int thread, int tile, int half) {
    return thread / 32 * Shape::warpRows + tile * 16 + half * 8 + thread % 32 / 4;
}

/// Queries [first, first + Shape::rows) of one window and head.
template <class Element, class Shape, class Block>
class MsaForward {
  public:
    ATLAS_HOST_DEVICE MsaForward(Block& block, const AtlasMsaProblem& p, int64_t window, int head,
                                 int first)
        : block_(block), p_(p), window_(window), head_(head), first_(first) {}

    ATLAS_HOST_DEVICE void run() {
        const int left = p_.queriesPerWindow - first_;
        const int count = left < Shape::rows ? left : Shape::rows;
        msaCopyRows<Shape::rows, Shape>(block_, 0, msaRows(p_.q, window_, head_, first_, count));
        MsaKeyTiles tile, next;
        copyTile(next, 0);
        block_.commitCopies();
        begin();
        for (int buffer = 0; tile.valid(p_); buffer ^= 1) {
            next.advance(p_);
            if (next.valid(p_)) copyTile(next, buffer ^ 1);
            block_.commitCopies();
            block_.template waitCopies<1>();
            block_.barrier();
            if (tile.segment == 0 && tile.first == 0) msaLoadOwn<Shape>(block_, own_);
            msaScores<Element, Shape>(block_, keysAt(buffer), own_, scores_);
            mask(tile);
            weigh();
            addValues(valuesAt(buffer));
            if (next.segment != tile.segment) endSegment(tile.segment);
            block_.barrier();
            tile = next;
        }
        finish(count);
    }

  private:
    static constexpr int kGroups = kMsaColumns / 8, kOutGroups = Shape::headDim / 8;
    static constexpr int kRows = 2 * Shape::rowTiles;  // of a thread

    ATLAS_HOST_DEVICE static constexpr int keysAt(int buffer) {
        return Shape::ownBytes + buffer * 2 * Shape::tileBytes;
    }
    ATLAS_HOST_DEVICE static constexpr int valuesAt(int buffer) {
        return keysAt(buffer) + Shape::tileBytes;
    }

    ATLAS_HOST_DEVICE void copyTile(const MsaKeyTiles& tile, int buffer) {
        const AtlasMsaSegment& s = p_.segment[tile.segment];
        const int64_t window = msaKeyWindow(s, window_);
        const int count = tile.count(p_);
        msaCopyRows<kMsaColumns, Shape>(block_, keysAt(buffer),
                                        msaRows(s.k, window, head_, tile.first, count));
        msaCopyRows<kMsaColumns, Shape>(block_, valuesAt(buffer),
                                        msaRows(s.v, window, head_, tile.first, count));
    }

    ATLAS_HOST_DEVICE void begin() {
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) {
                highest_.at(thread, r) = -INFINITY;
                sum_.at(thread, r) = segmentSum_.at(thread, r) = 0;
            }
            ATLAS_UNROLL
            for (int i = 0; i < Shape::rowTiles * kOutGroups * 4; ++i) out_.at(thread, i) = 0;
        });
    }

    ATLAS_HOST_DEVICE void mask(const MsaKeyTiles& tile) {
        const AtlasMsaSegment& s = p_.segment[tile.segment];
        const int count = tile.count(p_);
        if (!s.valid && count == kMsaColumns) return;
        const uint8_t* valid =
            s.valid ? s.valid + msaKeyWindow(s, window_) * s.keysPerWindow + tile.first : nullptr;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int g = 0; g < kGroups; ++g) {
                ATLAS_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const int column = msaColumn(thread, g, e);
                    if (column < count && (!valid || valid[column])) continue;
                    ATLAS_UNROLL
                    for (int t = 0; t < Shape::rowTiles; ++t)
                        scores_.at(thread, (t * kGroups + g) * 4 + e) =
                            scores_.at(thread, (t * kGroups + g) * 4 + 2 + e) = -INFINITY;
                }
            }
        });
    }

    /// Scores become softmax weights relative to the highest one so far; sums and output follow.
    ATLAS_HOST_DEVICE void weigh() {
        typename Block::template Registers<float, kRows> top;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) {
                float most = -INFINITY;
                ATLAS_UNROLL
                for (int i = 0; i < 2 * kGroups; ++i) {
                    const float x = scores_.at(thread, scoreOf(r, i));
                    most = x > most ? x : most;
                }
                top.at(thread, r) = most;
            }
        });
        block_.template quadMax<kRows>(top);
        const float scale = p_.scale * kMsaLog2e;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const float before = highest_.at(thread, r), now = top.at(thread, r) * scale;
                const float highest = now > before ? now : before;
                const float base = highest == -INFINITY ? 0 : highest;
                const float shrink = Block::powerOfTwo(before - base);
                float sum = 0;
                ATLAS_UNROLL
                for (int i = 0; i < 2 * kGroups; ++i) {
                    float& x = scores_.at(thread, scoreOf(r, i));
                    x = Block::powerOfTwo(x * scale - base);
                    sum += x;
                }
                highest_.at(thread, r) = highest;
                sum_.at(thread, r) = sum_.at(thread, r) * shrink + sum;
                segmentSum_.at(thread, r) = segmentSum_.at(thread, r) * shrink + sum;
                ATLAS_UNROLL
                for (int i = 0; i < 2 * kOutGroups; ++i)
                    out_.at(thread, (r / 2 * kOutGroups + i / 2) * 4 + r % 2 * 2 + i % 2) *= shrink;
            }
        });
    }

    /// Register of the i-th score of row r of a thread.
    ATLAS_HOST_DEVICE static constexpr int scoreOf(int r, int i) {
        return (r / 2 * kGroups + i / 2) * 4 + r % 2 * 2 + i % 2;
    }

    ATLAS_HOST_DEVICE void addValues(int offset) {
        ATLAS_UNROLL
        for (int step = 0; step < kMsaColumns / 16; ++step) {
            typename Block::template Registers<uint32_t, 4 * Shape::rowTiles> weights;
            block_.each([&](int thread) {
                ATLAS_UNROLL
                for (int t = 0; t < Shape::rowTiles; ++t) {
                    ATLAS_UNROLL
                    for (int i = 0; i < 4; ++i) {
                        const int from = (t * kGroups + 2 * step) * 4 + i * 2;
                        weights.at(thread, t * 4 + i) = Block::template pack<Element>(
                            scores_.at(thread, from), scores_.at(thread, from + 1));
                    }
                }
            });
            ATLAS_UNROLL
            for (int pair = 0; pair < kOutGroups / 2; ++pair) {
                typename Block::template Registers<uint32_t, 4> b;
                block_.template loadMatrices<true>(b, 0, [&](int thread) {
                    const int lane = thread % 32, matrix = lane / 8;
                    return offset + msaOffset<Shape>(step * 16 + matrix % 2 * 8 + lane % 8,
                                                     pair * 2 + matrix / 2);
                });
                ATLAS_UNROLL
                for (int t = 0; t < Shape::rowTiles; ++t) {
                    block_.template multiply<Element>(out_, (t * kOutGroups + 2 * pair) * 4,
                                                      weights, t * 4, b, 0);
                    block_.template multiply<Element>(out_, (t * kOutGroups + 2 * pair + 1) * 4,
                                                      weights, t * 4, b, 2);
                }
            }
        }
    }

    ATLAS_HOST_DEVICE int64_t resultRow(int thread, int r) const {
        return (window_ * p_.heads + head_) * p_.queriesPerWindow + first_ +
               msaRow<Shape>(thread, r / 2, r % 2);
    }
    ATLAS_HOST_DEVICE int64_t massAt(int segment, int64_t row) const {
        return segment * p_.queryWindows * p_.heads * p_.queriesPerWindow + row;
    }
    /// One thread of the four that share a row writes what belongs to the row.
    ATLAS_HOST_DEVICE bool writes(int thread, int r) const {
        return thread % 4 == 0 &&
               first_ + msaRow<Shape>(thread, r / 2, r % 2) < p_.queriesPerWindow;
    }

    /// The segment's log-sum-exp waits in `mass` until that of all segments is known.
    ATLAS_HOST_DEVICE void endSegment(int segment) {
        if (p_.mass) {
            block_.template quadSum<kRows>(segmentSum_);
            block_.each([&](int thread) {
                ATLAS_UNROLL
                for (int r = 0; r < kRows; ++r)
                    if (writes(thread, r))
                        p_.mass[massAt(segment, resultRow(thread, r))] =
                            lseOf(highest_.at(thread, r), segmentSum_.at(thread, r));
            });
        }
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) segmentSum_.at(thread, r) = 0;
        });
    }

    ATLAS_HOST_DEVICE static float lseOf(float highest, float sum) {
        return sum > 0 ? highest * kMsaLn2 + logf(sum) : -INFINITY;
    }

    ATLAS_HOST_DEVICE void finish(int count) {
        block_.template quadSum<kRows>(sum_);
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const float sum = sum_.at(thread, r), inverse = sum > 0 ? 1 / sum : 0;
                ATLAS_UNROLL
                for (int g = 0; g < kOutGroups; ++g) {
                    const int from = (r / 2 * kOutGroups + g) * 4 + r % 2 * 2;
                    block_.storePair(
                        msaOffset<Shape>(msaRow<Shape>(thread, r / 2, r % 2), g) + thread % 4 * 4,
                        Block::template pack<Element>(out_.at(thread, from) * inverse,
                                                      out_.at(thread, from + 1) * inverse));
                }
                if (!writes(thread, r)) continue;
                const int64_t row = resultRow(thread, r);
                const float lse = lseOf(highest_.at(thread, r), sum);
                p_.lse[row] = lse;
                if (!p_.mass) continue;
                for (int s = 0; s < p_.segments; ++s) {
                    float& mass = p_.mass[massAt(s, row)];
                    mass = mass == -INFINITY ? 0 : expf(mass - lse);
                }
            }
        });
        block_.barrier();
        const MsaRows rows = msaRows(p_.out, window_, head_, first_, count);
        block_.each([&](int thread) {
            for (int i = thread; i < count * Shape::chunks; i += Shape::threads)
                block_.storeChunk(const_cast<char*>(rows.data) + i / Shape::chunks * rows.stride +
                                      i % Shape::chunks * 16,
                                  msaOffset<Shape>(i / Shape::chunks, i % Shape::chunks));
        });
    }

    Block& block_;
    const AtlasMsaProblem& p_;
    int64_t window_;
    int head_, first_;
    typename Block::template Registers<uint32_t, Shape::rowTiles*(Shape::headDim / 16) * 4> own_;
    typename Block::template Registers<float, Shape::rowTiles * kGroups * 4> scores_;
    typename Block::template Registers<float, Shape::rowTiles * kOutGroups * 4> out_;
    typename Block::template Registers<float, kRows> highest_, sum_, segmentSum_;
};

/// What keys [first, first + Shape::rows) of one key window and head receive: k q^T, tile by tile
/// of the queries that see them.
template <class Element, class Shape, class Block>
class MsaReceived {
  public:
    ATLAS_HOST_DEVICE MsaReceived(Block& block, const AtlasMsaProblem& p, const AtlasMsaReceived& r,
                                  int64_t window, int head, int first, int part)
        : block_(block),
          p_(p),
          r_(r),
          s_(p.segment[r.segment]),
          window_(window),
          head_(head),
          first_(first),
          part_(part) {}

    ATLAS_HOST_DEVICE void run() {
        const int left = s_.keysPerWindow - first_;
        const int count = left < Shape::rows ? left : Shape::rows;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) sum_.at(thread, r) = 0;
        });
        const int tiles = (p_.queriesPerWindow + kMsaColumns - 1) / kMsaColumns;
        const int64_t from = r_.queryStart ? r_.queryStart[window_] : window_;
        const int64_t to = r_.queryStart ? r_.queryStart[window_ + 1] : window_ + 1;
        const int64_t steps = (to - from) * tiles;
        const int64_t begin = steps * part_ / r_.parts, end = steps * (part_ + 1) / r_.parts;
        if (begin < end) {  // a part without steps must not leave with copies on their way
            msaCopyRows<Shape::rows, Shape>(block_, 0,
                                            msaRows(s_.k, window_, head_, first_, count));
            copyTile(from, tiles, begin, 0);
        }
        block_.commitCopies();
        for (int64_t step = begin; step < end; ++step) {
            const int buffer = static_cast<int>((step - begin) % 2);
            if (step + 1 < end) copyTile(from, tiles, step + 1, buffer ^ 1);
            block_.commitCopies();
            block_.template waitCopies<1>();
            block_.barrier();
            if (step == begin) msaLoadOwn<Shape>(block_, own_);
            msaScores<Element, Shape>(block_, tileAt(buffer), own_, scores_);
            add(queryWindow(from, tiles, step), static_cast<int>(step % tiles) * kMsaColumns);
            block_.barrier();
        }
        finish();
    }

  private:
    static constexpr int kGroups = kMsaColumns / 8, kRows = 2 * Shape::rowTiles;

    ATLAS_HOST_DEVICE static constexpr int tileAt(int buffer) {
        return Shape::ownBytes + buffer * Shape::tileBytes;
    }
    ATLAS_HOST_DEVICE int64_t queryWindow(int64_t from, int tiles, int64_t step) const {
        const int64_t at = from + step / tiles;
        return r_.queryWindow ? r_.queryWindow[at] : at;
    }
    ATLAS_HOST_DEVICE void copyTile(int64_t from, int tiles, int64_t step, int buffer) {
        const int first = static_cast<int>(step % tiles) * kMsaColumns;
        const int left = p_.queriesPerWindow - first;
        msaCopyRows<kMsaColumns, Shape>(block_, tileAt(buffer),
                                        msaRows(p_.q, queryWindow(from, tiles, step), head_, first,
                                                left < kMsaColumns ? left : kMsaColumns));
    }

    ATLAS_HOST_DEVICE void add(int64_t window, int first) {
        const float scale = p_.scale * kMsaLog2e;
        const float* lse = p_.lse + (window * p_.heads + head_) * p_.queriesPerWindow + first;
        const uint8_t* valid =
            r_.validQuery ? r_.validQuery + window * p_.queriesPerWindow + first : nullptr;
        const int count = p_.queriesPerWindow - first;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int g = 0; g < kGroups; ++g) {
                ATLAS_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const int column = msaColumn(thread, g, e);
                    if (column >= count || (valid && !valid[column])) continue;
                    // Without any key, -inf: then finish() writes 0 for every key of this window.
                    const float base = lse[column] * kMsaLog2e;
                    ATLAS_UNROLL
                    for (int r = 0; r < kRows; ++r)
                        sum_.at(thread, r) += Block::powerOfTwo(
                            scores_.at(thread, (r / 2 * kGroups + g) * 4 + r % 2 * 2 + e) * scale -
                            base);
                }
            }
        });
    }

    ATLAS_HOST_DEVICE void finish() {
        block_.template quadSum<kRows>(sum_);
        const int64_t keyRow = window_ * s_.keysPerWindow + first_;
        float* to =
            r_.received +
            (part_ * static_cast<int64_t>(p_.heads) + head_) * s_.keyWindows * s_.keysPerWindow +
            keyRow;
        block_.each([&](int thread) {
            ATLAS_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const int row = msaRow<Shape>(thread, r / 2, r % 2);
                if (thread % 4 != 0 || first_ + row >= s_.keysPerWindow) continue;
                to[row] = s_.valid && !s_.valid[keyRow + row] ? 0 : sum_.at(thread, r);
            }
        });
    }

    Block& block_;
    const AtlasMsaProblem& p_;
    const AtlasMsaReceived& r_;
    const AtlasMsaSegment& s_;
    int64_t window_;
    int head_, first_, part_;
    typename Block::template Registers<uint32_t, Shape::rowTiles*(Shape::headDim / 16) * 4> own_;
    typename Block::template Registers<float, Shape::rowTiles * kGroups * 4> scores_;
    typename Block::template Registers<float, kRows> sum_;
};

struct MsaBfloat16 {};
struct MsaFloat16 {};

/// Float32: one query over all its segments, in one pass.
ATLAS_HOST_DEVICE inline void msaForwardRow(const AtlasMsaProblem& p, int64_t index) {
    const int64_t query = index % p.queriesPerWindow;
    const int64_t head = index / p.queriesPerWindow % p.heads;
    const int64_t window = index / p.queriesPerWindow / p.heads;
    const auto rowOf = [head](const AtlasMsaTensor& t, int64_t w, int64_t row) {
        return static_cast<float*>(t.data) + w * t.window + head * t.head + row * t.row;
    };
    const float* q = rowOf(p.q, window, query);
    float* out = rowOf(p.out, window, query);
    float accumulated[kAtlasMsaMaxHeadDim];
    float segmentSum[kAtlasMsaMaxSegments];
    for (int c = 0; c < p.headDim; ++c) accumulated[c] = 0;
    float highest = -INFINITY;
    float sum = 0;
    for (int s = 0; s < p.segments; ++s) {
        const AtlasMsaSegment& segment = p.segment[s];
        const int64_t keyWindow = msaKeyWindow(segment, window);
        segmentSum[s] = 0;
        for (int32_t key = 0; key < segment.keysPerWindow; ++key) {
            if (segment.valid && !segment.valid[keyWindow * segment.keysPerWindow + key]) continue;
            const float* k = rowOf(segment.k, keyWindow, key);
            const float* v = rowOf(segment.v, keyWindow, key);
            float logit = 0;
            for (int c = 0; c < p.headDim; ++c) logit += q[c] * k[c];
            logit *= p.scale;
            if (logit > highest) {
                const float shrink = expf(highest - logit);
                for (int c = 0; c < p.headDim; ++c) accumulated[c] *= shrink;
                for (int earlier = 0; earlier <= s; ++earlier) segmentSum[earlier] *= shrink;
                sum *= shrink;
                highest = logit;
            }
            const float weight = expf(logit - highest);
            sum += weight;
            segmentSum[s] += weight;
            for (int c = 0; c < p.headDim; ++c) accumulated[c] += weight * v[c];
        }
    }
    const float inverse = sum > 0 ? 1 / sum : 0;
    for (int c = 0; c < p.headDim; ++c) out[c] = accumulated[c] * inverse;
    p.lse[index] = sum > 0 ? highest + logf(sum) : -INFINITY;
    const int64_t rows = p.queryWindows * p.heads * p.queriesPerWindow;
    if (p.mass)
        for (int s = 0; s < p.segments; ++s) p.mass[s * rows + index] = segmentSum[s] * inverse;
}

}  // namespace atlas::engine
