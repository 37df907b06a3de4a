// SPDX-License-Identifier: Apache-2.0
// Attention rollout across scales: from which tokens the readout's mean was made, followed back
// through every pass of every block. After Abnar and Zuidema 2020 (half identity, half attention,
// heads averaged), carried as one vector, so that no matrix product is formed. No tensors.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "engine/nn/token_scale.h"

namespace atlas::engine {

/// Where the flow is before a block (or, the last one, at the readout): a map for each scale of the
/// whole network, [side, side], finest first; all of them sum to 1. Empty: the scale is not there.
struct FlowDepth {
    int64_t stage = 0, block = 0;
    std::vector<std::vector<float>> maps;
};

class AttentionFlow {
  public:
    struct Key {
        int64_t scale = 0, place = 0;  ///< of the whole network; in the raster map
    };
    /// Queries that share their keys.
    struct Window {
        std::vector<int64_t> queries;  ///< places in the raster map
        std::vector<Key> keys;
        std::vector<float> weights;  ///< [queries, keys], mean over heads; each row sums to 1
    };
    /// A share of the channels of a coarse token came from this child, where max-pooling made or
    /// changed it.
    struct Edge {
        int64_t child = 0, parent = 0;
        float share = 0;
    };

    /// `upwards`: of the pass of spec 5.4, else 5.3. `scale`: of the queries.
    void add(int64_t stage, int64_t block, bool upwards, int64_t scale, Window window);
    /// A pass of 5.3 in which tokens look at no tokens: each stays what it is.
    void addIdentity(int64_t stage, int64_t block, int64_t scale);
    /// Spec 5.2 into `scale`; stage -1: spec 4.
    void addEdges(int64_t stage, int64_t block, int64_t scale, const std::vector<Edge>& edges);

    const std::vector<Window>& windows(int64_t stage, int64_t block, bool upwards,
                                       int64_t scale) const;

    /// From the readout, which averages the valid tokens of the scales from `firstRead` on, to the
    /// input. The first of the result is the input: everything lies on the finest scale.
    std::vector<FlowDepth> carriedBack(const std::vector<TokenScale>& scales,
                                       int64_t firstRead) const;

  private:
    /// Stage, block, phase (pooling, down, up) and the place in it.
    using Order = std::tuple<int64_t, int64_t, int64_t, int64_t>;
    struct Pass {
        int64_t scale = 0;
        std::vector<Window> windows;
        std::vector<Edge> edges;
    };
    static Order orderOf(int64_t stage, int64_t block, int64_t phase, int64_t scale);

    std::map<Order, Pass> passes_;
};

}  // namespace atlas::engine
