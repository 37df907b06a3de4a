// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/attention_flow.h"

#include <utility>

namespace atlas::engine {
namespace {
enum Phase : int64_t { kPool, kDown, kUp };
}

AttentionFlow::Order AttentionFlow::orderOf(int64_t stage, int64_t block, int64_t phase,
                                            int64_t scale) {
    return {stage, block, phase, phase == kDown ? -scale : scale};  // down: the coarsest first
}

void AttentionFlow::add(int64_t stage, int64_t block, bool upwards, int64_t scale, Window window) {
    Pass& pass = passes_[orderOf(stage, block, upwards ? kUp : kDown, scale)];
    pass.scale = scale;
    pass.windows.push_back(std::move(window));
}

void AttentionFlow::addIdentity(int64_t stage, int64_t block, int64_t scale) {
    passes_[orderOf(stage, block, kDown, scale)].scale = scale;
}

void AttentionFlow::addEdges(int64_t stage, int64_t block, int64_t scale,
                             const std::vector<Edge>& edges) {
    Pass& pass = passes_[orderOf(stage, block, kPool, scale)];
    pass.scale = scale;
    pass.edges.insert(pass.edges.end(), edges.begin(), edges.end());
}

const std::vector<AttentionFlow::Window>& AttentionFlow::windows(int64_t stage, int64_t block,
                                                                 bool upwards,
                                                                 int64_t scale) const {
    static const std::vector<Window> none;
    const auto found = passes_.find(orderOf(stage, block, upwards ? kUp : kDown, scale));
    return found == passes_.end() ? none : found->second.windows;
}

std::vector<FlowDepth> AttentionFlow::carriedBack(const std::vector<TokenScale>& scales,
                                                  int64_t firstRead) const {
    std::vector<std::vector<double>> flow(scales.size());
    double tokens = 0;
    for (size_t s = 0; s < scales.size(); ++s) {
        flow[s].assign(scales[s].map.size(), 0);
        if (static_cast<int64_t>(s) < firstRead) continue;
        for (size_t i = 0; i < scales[s].map.size(); ++i) {
            flow[s][i] = scales[s].map[i];
            tokens += scales[s].map[i];
        }
    }
    for (auto& map : flow)
        for (double& v : map) v /= tokens;
    std::vector<FlowDepth> depths;
    const auto keep = [&](int64_t stage, int64_t block, int64_t first) {
        FlowDepth depth{stage, block, {}};
        for (size_t s = 0; s < flow.size(); ++s)
            depth.maps.push_back(static_cast<int64_t>(s) < first
                                     ? std::vector<float>()
                                     : std::vector<float>(flow[s].begin(), flow[s].end()));
        depths.push_back(std::move(depth));
    };
    const int64_t stages = passes_.empty() ? 0 : std::get<0>(passes_.rbegin()->first) + 1;
    keep(stages, 0, firstRead);
    for (auto pass = passes_.rbegin(); pass != passes_.rend(); ++pass) {
        const auto [stage, block, phase, place] = pass->first;
        auto& mine = flow[static_cast<size_t>(pass->second.scale)];
        for (const auto& window : pass->second.windows) {
            std::vector<double> half(window.queries.size());
            for (size_t q = 0; q < half.size(); ++q) {
                double& v = mine[static_cast<size_t>(window.queries[q])];
                v /= 2;
                half[q] = v;
            }
            for (size_t k = 0; k < window.keys.size(); ++k) {
                double sum = 0;
                for (size_t q = 0; q < half.size(); ++q)
                    sum += half[q] * window.weights[q * window.keys.size() + k];
                const Key& key = window.keys[k];
                flow[static_cast<size_t>(key.scale)][static_cast<size_t>(key.place)] += sum;
            }
        }
        if (!pass->second.edges.empty()) {
            // Tokens were made of their children alone (spec 4), or half of them (5.2).
            auto& children = flow[static_cast<size_t>(pass->second.scale) - 1];
            const double part = stage < 0 ? 1 : 0.5;
            for (const auto& edge : pass->second.edges)
                children[static_cast<size_t>(edge.child)] +=
                    part * edge.share * mine[static_cast<size_t>(edge.parent)];
            for (double& v : mine) v *= 1 - part;
        }
        const auto next = std::next(pass);
        const bool ends = next == passes_.rend() || std::get<0>(next->first) != stage ||
                          std::get<1>(next->first) != block;
        if (ends && stage >= 0) keep(stage, block, std::min<int64_t>(stage, firstRead));
    }
    if (passes_.empty() || std::get<0>(passes_.begin()->first) >= 0)
        return {depths.rbegin(), depths.rend()};
    keep(-1, 0, 0);
    for (size_t s = 1; s < scales.size(); ++s) depths.back().maps[s].clear();
    return {depths.rbegin(), depths.rend()};
}

}  // namespace atlas::engine
