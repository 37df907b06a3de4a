// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/window_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace atlas::engine {
namespace {

int64_t keysOf(const AttentionTask& task) {
    int64_t keys = 0;
    for (int s = 0; s < task.segments; ++s) keys += task.segment[s].count;
    return keys;
}

/// Place in the raster map of `coarse` of a token of the tile over a window of `fine`.
int64_t placeOver(const TokenScale& fine, int64_t slot, const TokenScale& coarse, int64_t token) {
    const int64_t across = coarse.geometry.side, side = across / fine.geometry.rows;
    const TokenWindow& w = fine.windows[static_cast<size_t>(slot)];
    return (w.row * side + token / side) * across + w.column * side + token % side;
}

}  // namespace

std::vector<float> meanOfHeads(const float* values, int64_t heads, int64_t stride, int64_t count) {
    std::vector<float> mean(static_cast<size_t>(count), 0.0f);
    for (int64_t h = 0; h < heads; ++h)
        for (int64_t t = 0; t < count; ++t) mean[static_cast<size_t>(t)] += values[h * stride + t];
    for (float& m : mean) m /= static_cast<float>(heads);
    return mean;
}

void WindowAttention::add(const AttentionTask& task, std::vector<KeySource> sources) {
    shares_ = std::max<int64_t>(shares_, task.segments * task.queries);
    keys_ = std::max(keys_, keysOf(task));
    tasks_.push_back(task);
    sources_.push_back(std::move(sources));
}

void WindowAttention::run(WorkTeam::Member& team, bool maps) {
    const int64_t items = static_cast<int64_t>(tasks_.size()) * heads_;
    if (maps) {
        mass_ = AlignedFloats(items * shares_);
        received_ = AlignedFloats(items * keys_);
    }
    team.share(items, [&](int64_t item) {
        AttentionTask task = ofHead(tasks_[static_cast<size_t>(item / heads_)], item % heads_);
        if (maps) {
            task.received = received_.data() + item * keys_;
            task.mass = mass_.data() + item * shares_;
        }
        task.scratch = threadScratch(attentionScratch(task));
        kernels_.attention(task);
    });
}

void WindowAttention::recordTopDown(const AttentionRecord& record) const {
    if (record.maps) recordMaps(record);
    if (record.probe) recordProbe(record);
    if (record.flow) recordFlow(record, /*upwards=*/false);
}

void WindowAttention::recordUpwards(const AttentionRecord& record) const {
    if (record.flow) recordFlow(record, /*upwards=*/true);
    if (!record.maps) return;
    for (size_t n = 0; n < tasks_.size(); ++n) {
        const KeySource& window = sources_[n][0];
        const auto k = static_cast<int64_t>(window.scale);
        const float* received = received_.data() + static_cast<int64_t>(n) * heads_ * keys_;
        record.addReceived(k + 1, k, window.slot,
                           meanOfHeads(received, heads_, keys_, keysOf(tasks_[n])).data());
    }
}

void WindowAttention::recordMaps(const AttentionRecord& record) const {
    for (size_t n = 0; n < tasks_.size(); ++n) {
        const AttentionTask& task = tasks_[n];
        const KeySource& window = sources_[n][0];
        const auto q = static_cast<int64_t>(window.scale);
        record.makeMaps(q);
        const int64_t firstItem = static_cast<int64_t>(n) * heads_;
        const float* mass = mass_.data() + firstItem * shares_;
        const float* received = received_.data() + firstItem * keys_;
        for (int s = 0; s < task.segments; ++s) {
            const KeySource& source = sources_[n][static_cast<size_t>(s)];
            const auto k = static_cast<int64_t>(source.scale);
            const int64_t count = task.segment[s].count;
            record.addMass(q, k, window.slot,
                           meanOfHeads(mass, heads_, shares_, task.queries).data());
            record.addReceived(q, k, source.slot,
                               meanOfHeads(received, heads_, keys_, count).data());
            mass += task.queries;
            received += count;
        }
    }
}

void WindowAttention::recordProbe(const AttentionRecord& record) const {
    const ProbePoint& at = *record.probe;
    for (size_t n = 0; n < tasks_.size(); ++n) {
        const KeySource& window = sources_[n][0];
        const TokenScale& layout = record.layout(static_cast<int64_t>(window.scale));
        const auto& g = layout.geometry;
        if (at.scale != record.first + static_cast<int64_t>(window.scale) || at.row < 0 ||
            at.column < 0 || at.row >= g.side || at.column >= g.side ||
            layout.slot(0, at.row / g.window, at.column / g.window) != window.slot)
            continue;
        const int64_t token = at.row % g.window * g.window + at.column % g.window;
        std::vector<float> weights(static_cast<size_t>(keysOf(tasks_[n])), 0);
        const int64_t firstHead = std::max<int64_t>(0, at.head),
                      lastHead = at.head < 0 ? heads_ : std::min(heads_, at.head + 1);
        for (int64_t h = firstHead; h < lastHead; ++h)
            addWeights(tasks_[n], token, h, weights.data());
        for (float& w : weights)
            w /= static_cast<float>(std::max<int64_t>(1, lastHead - firstHead));
        const float* value = weights.data();
        for (int s = 0; s < tasks_[n].segments; ++s) {
            const KeySource& source = sources_[n][static_cast<size_t>(s)];
            record.setProbe(static_cast<int64_t>(source.scale), source.slot, value);
            value += tasks_[n].segment[s].count;
        }
    }
}

/// Of the first image.
void WindowAttention::recordFlow(const AttentionRecord& record, bool upwards) const {
    std::vector<AttentionFlow::Window> windows(tasks_.size());
    at::parallel_for(0, static_cast<int64_t>(tasks_.size()), 1, [&](int64_t begin, int64_t end) {
        for (auto n = static_cast<size_t>(begin); n < static_cast<size_t>(end); ++n) {
            auto& window = windows[n];
            for (const KeySource& source : sources_[n]) {
                const auto scale = static_cast<int64_t>(source.scale);
                const TokenScale& seen = record.layout(scale);
                for (int64_t t = 0; t < seen.tokens(); ++t)
                    window.keys.push_back({record.first + scale, placeOf(seen, source.slot, t)});
            }
            const KeySource& own = sources_[n][0];
            const auto scale = static_cast<int64_t>(own.scale);
            std::vector<float> weights(window.keys.size());
            for (int64_t q = 0; q < tasks_[n].queries; ++q) {
                if (tasks_[n].validQuery && !tasks_[n].validQuery[q]) continue;
                std::fill(weights.begin(), weights.end(), 0.0f);
                for (int64_t h = 0; h < heads_; ++h) addWeights(tasks_[n], q, h, weights.data());
                window.queries.push_back(
                    upwards ? placeOver(record.layout(scale), own.slot, record.layout(scale + 1), q)
                            : placeOf(record.layout(scale), own.slot, q));
                for (float w : weights) window.weights.push_back(w / static_cast<float>(heads_));
            }
        }
    });
    for (size_t n = 0; n < windows.size(); ++n)
        record.flow->add(record.stage, record.block, upwards,
                         record.first + static_cast<int64_t>(sources_[n][0].scale) + upwards,
                         std::move(windows[n]));
}

AttentionTask WindowAttention::ofHead(AttentionTask task, int64_t head) const {
    const int64_t size = dim_ / heads_, offset = head * size;
    task.q += offset;
    task.out += offset;
    for (int s = 0; s < task.segments; ++s) {
        task.segment[s].k += offset;
        task.segment[s].v += offset;
    }
    task.headSize = static_cast<int>(size);
    task.scale = 1 / std::sqrt(static_cast<float>(size));
    return task;
}

/// Adds the softmax of one query and head to `weights`, over the keys of all segments.
void WindowAttention::addWeights(AttentionTask task, int64_t query, int64_t head,
                                 float* weights) const {
    task = ofHead(task, head);
    task.q += query * task.queryStride;
    task.queries = 1;
    task.validQuery = nullptr;
    task.received = weights;
    float* scratch = threadScratch(attentionScratch(task) + dim_);
    task.out = scratch + attentionScratch(task);  // not wanted
    task.scratch = scratch;
    kernels_.attention(task);
}

}  // namespace atlas::engine
