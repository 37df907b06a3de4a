// SPDX-License-Identifier: Apache-2.0
// Attention over several key segments whose partial results are merged by their log-sum-exp:
// one softmax over all keys, without repeating or concatenating any. Spec 5.3 and 11.
#pragma once

#include <vector>

#include "engine/nn/atlas_geometry.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

/// Which fine windows share a coarse one. Windows are batch outermost, row by row.
struct WindowGroups {
    int64_t batch = 1;
    int64_t fineRows = 1;
    int64_t coarseRows = 1;
    WindowMapping mapping = WindowMapping::Raster;

    /// [batch*fine^2, A, T, ...] -> [batch*coarse^2, A, (fine/coarse)^2 * T, ...]
    at::Tensor group(const at::Tensor& x) const;
    at::Tensor ungroup(const at::Tensor& x) const;

  private:
    int64_t factor() const { return fineRows / coarseRows; }
};

struct KeySegment {
    at::Tensor k, v;   ///< [key windows, heads, keys, d]
    at::Tensor valid;  ///< bool [key windows, keys]; undefined: all
    WindowGroups groups;
    at::Tensor keyWindow{};  ///< int32 [query windows]: whose keys each sees, in place of `groups`
};

struct SegmentedAttention {
    at::Tensor out;                      ///< [query windows, heads, queries, d]
    at::Tensor lse;                      ///< [query windows, heads, queries] float32
    std::vector<at::Tensor> segmentLse;  ///< the same for each segment; -inf without a valid key
};

/// softmax(q k^T / sqrt d) v over the keys of all segments. A query without any key gives 0.
/// Differentiable where an input requires a gradient (then logits are formed segment by segment).
SegmentedAttention segmentedAttention(const at::Tensor& q, const std::vector<KeySegment>& segments);

/// Share of each query's softmax that falls on segment `index`, mean over heads:
/// [query windows, queries].
at::Tensor segmentMass(const SegmentedAttention& result, size_t index);

/// Sum over queries of the softmax weight of each key, mean over heads: [key windows, keys].
/// `validQuery`: bool [query windows, queries] or undefined. Memory is bounded by chunks.
at::Tensor receivedByKeys(const at::Tensor& q, const KeySegment& segment, const at::Tensor& lse,
                          const at::Tensor& validQuery);

/// Weights of one query, of one head or (-1) the mean over heads: [keys of its window]. `window`
/// counts query windows.
at::Tensor attentionOfQuery(const at::Tensor& q, const KeySegment& segment, const at::Tensor& lse,
                            int64_t window, int64_t query, int64_t keyWindow, int64_t head = -1);

}  // namespace atlas::engine
