// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_block.h"

#include <cmath>
#include <limits>

namespace atlas::engine {
namespace {

constexpr int64_t kPositionHidden = 512;

std::string pairName(const char* what, int64_t q, int64_t k) {
    return std::string(what) + ".q" + std::to_string(q) + ".k" + std::to_string(k);
}

at::Tensor onlyValid(const at::Tensor& map, const at::Tensor& valid) {
    if (!valid.defined()) return map;
    return map.masked_fill(valid.logical_not().unsqueeze(-1), 0);
}

}  // namespace

at::Tensor toWindows(const at::Tensor& map, int64_t side) {
    const int64_t b = map.size(0), h = map.size(1), w = map.size(2);
    std::vector<int64_t> cells{b, h / side, side, w / side, side};
    std::vector<int64_t> result{b * (h / side) * (w / side), side * side};
    for (int64_t i = 3; i < map.dim(); ++i) {
        cells.push_back(map.size(i));
        result.push_back(map.size(i));
    }
    return map.reshape(cells).transpose(2, 3).reshape(result);
}

at::Tensor toRaster(const at::Tensor& windows, int64_t side, int64_t rows) {
    const int64_t b = windows.size(0) / (rows * rows);
    std::vector<int64_t> cells{b, rows, rows, side, side};
    std::vector<int64_t> result{b, rows * side, rows * side};
    for (int64_t i = 2; i < windows.dim(); ++i) {
        cells.push_back(windows.size(i));
        result.push_back(windows.size(i));
    }
    return windows.reshape(cells).transpose(2, 3).reshape(result);
}

at::Tensor poolTokens(const at::Tensor& map, int64_t ratio, const at::Tensor& valid) {
    at::Tensor x = map;
    if (valid.defined())
        x = x.masked_fill(valid.logical_not().unsqueeze(-1),
                          -std::numeric_limits<double>::infinity());
    x = at::max_pool2d(x.permute({0, 3, 1, 2}), {ratio, ratio}, {ratio, ratio})
            .permute({0, 2, 3, 1});
    return valid.defined() ? x.masked_fill(x == -std::numeric_limits<double>::infinity(), 0) : x;
}

AtlasBlock::AtlasBlock(WeightReader& reader, const std::string& prefix, const AtlasConfig& config,
                       const AtlasStageConfig& stage, int64_t index)
    : heads_(stage.heads), ratio_(config.poolRatio), mapping_(config.mapping) {
    const int64_t c = config.dim;
    const auto hidden = static_cast<int64_t>(std::floor(static_cast<double>(c) * stage.mlpRatio));
    if (stage.attentionOf(index) == BlockAttention::External)
        memory_ = ExternalMemory::read(reader, prefix, c / heads_, stage.memorySlots);
    for (int64_t s = 0; s < stage.weightSets; ++s) {
        const std::string position = prefix + "posemb." + std::to_string(s) + ".projector.";
        const std::string block = prefix + "blocks." + std::to_string(s) + ".";
        WeightSet w;
        w.position0 = Linear::read(reader, position + "0", 2, kPositionHidden);
        w.position2 = Linear::read(reader, position + "2", kPositionHidden, c, false);
        w.normQ = LayerNorm::read(reader, block + "norm1_q", c);
        w.q = Linear::read(reader, block + "attn.q", c, c, stage.qkvBias);
        if (!memory_) {
            w.normKv = LayerNorm::read(reader, block + "norm1_kv", c);
            w.kv = Linear::read(reader, block + "attn.kv", c, 2 * c, stage.qkvBias);
        }
        w.proj = Linear::read(reader, block + "attn.proj", c, c);
        w.norm2 = LayerNorm::read(reader, block + "norm2", c);
        w.fc1 = Linear::read(reader, block + "mlp.fc1", c, hidden);
        w.fc2 = Linear::read(reader, block + "mlp.fc2", hidden, c);
        sets_.push_back(std::move(w));
    }
}

const AtlasBlock::WeightSet& AtlasBlock::set(int64_t scale) const {
    return sets_[std::min(static_cast<size_t>(scale), sets_.size() - 1)];
}

at::Tensor AtlasBlock::splitHeads(const at::Tensor& x) const {
    return x.reshape({x.size(0), x.size(1), heads_, x.size(2) / heads_}).transpose(1, 2);
}

at::Tensor positionEmbedding(const Linear& layer0, const Linear& layer2, int64_t side) {
    const auto options = layer0.weight.options().requires_grad(false);
    const int64_t half = side / 2;
    const at::Tensor axis =
        (at::arange(side, options) - static_cast<double>(half)) / static_cast<double>(half);
    const at::Tensor rows = axis.unsqueeze(1).expand({side, side});
    const at::Tensor grid = at::stack({rows, rows.transpose(0, 1)}, -1).reshape({side * side, 2});
    return layer2(at::relu(layer0(grid)));
}

at::Tensor AtlasBlock::positionEmbedding(int64_t set, int64_t side) const {
    const auto& w = this->set(set);
    return engine::positionEmbedding(w.position0, w.position2, side);
}

at::Tensor AtlasBlock::cachedPosition(int64_t set, int64_t side) const {
    if (at::GradMode::is_enabled()) return positionEmbedding(set, side);
    const std::pair key{std::min<int64_t>(set, static_cast<int64_t>(sets_.size()) - 1), side};
    const std::lock_guard lock(positions_->mutex);
    auto& entry = positions_->entries[key];
    if (!entry.defined()) entry = positionEmbedding(set, side);
    return entry;
}

/// The state of one forward pass: the maps and what the traces need.
struct AtlasBlock::Pass {
    const AtlasBlock& block;
    std::vector<at::Tensor>& maps;
    const BlockScales& scales;
    const ForwardMode& mode;
    const TraceRequest& request;
    Trace* trace;
    std::vector<KeyValue> shared;  // keys and values of the scales that are done

    int64_t count() const { return static_cast<int64_t>(maps.size()); }
    const ScaleGeometry& geometry(int64_t i) const {
        return scales.geometry[static_cast<size_t>(i)];
    }
    const at::Tensor& valid(int64_t i) const { return scales.valid[static_cast<size_t>(i)]; }
    at::Tensor& map(int64_t i) { return maps[static_cast<size_t>(i)]; }
    int64_t batch() const { return maps[0].size(0); }
    bool attentionTraced() const { return trace && (request.attention || request.intermediate); }

    void keepMap(const std::string& name, int64_t i) {
        if (trace && request.intermediate)
            (*trace)[name + std::to_string(i)] = toWindows(map(i), geometry(i).window);
    }

    at::Tensor query(int64_t i, int64_t side) {
        const auto& w = block.set(i);
        return block.splitHeads(toWindows(w.q(w.normQ(map(i))), side));
    }

    KeyValue keyValue(int64_t i) {
        const auto& w = block.set(i);
        const at::Tensor kv = toWindows(w.kv(w.normKv(map(i))), geometry(i).window);
        const int64_t c = kv.size(2) / 2;
        return {block.splitHeads(kv.slice(2, 0, c)), block.splitHeads(kv.slice(2, c))};
    }

    KeySegment segment(int64_t i, const KeyValue& kv, int64_t fineRows) const {
        KeySegment result{kv.k, kv.v, {}, {batch(), fineRows, geometry(i).rows, block.mapping_}};
        if (valid(i).defined()) result.valid = toWindows(valid(i), geometry(i).window);
        return result;
    }

    /// Output projection, residual and MLP of scale i (spec: M_s(x + proj(A))).
    void finish(int64_t i, const at::Tensor& attended, int64_t side, int64_t rows) {
        const auto& w = block.set(i);
        const at::Tensor tokens = attended.transpose(1, 2).flatten(2);
        at::Tensor x = map(i) + dropPath(w.proj(toRaster(tokens, side, rows)), mode);
        x = x + dropPath(w.fc2(at::gelu(w.fc1(w.norm2(x)))), mode);
        map(i) = onlyValid(x, valid(i));
    }

    void addPositions() {
        for (int64_t i = 0; i < count(); ++i) {
            const auto& g = geometry(i);
            const at::Tensor p = block.cachedPosition(i, g.window);
            const at::Tensor tile = p.view({1, 1, g.window, 1, g.window, p.size(1)});
            const at::Tensor cells =
                map(i).reshape({batch(), g.rows, g.window, g.rows, g.window, p.size(1)});
            map(i) = onlyValid((cells + tile).reshape(map(i).sizes()), valid(i));
        }
    }

    void sumUpwards() {
        for (int64_t i = 0; i + 1 < count(); ++i)
            map(i + 1) = map(i + 1) + poolTokens(map(i), block.ratio_, valid(i));
        for (int64_t i = 0; i < count(); ++i) keepMap("block.summed.scale", i);
    }

    void topDown(int64_t i) {
        const auto& g = geometry(i);
        const at::Tensor q = query(i, g.window);
        std::vector<int64_t> sources{i};
        std::vector<KeySegment> segments{segment(i, keyValue(i), g.rows)};
        for (int64_t t = count() - 1; t > i; --t) {
            if (scales.first + t == request.scaleOff) continue;
            sources.push_back(t);
            segments.push_back(segment(t, shared[static_cast<size_t>(t)], g.rows));
        }
        const SegmentedAttention result = segmentedAttention(q, segments);
        finish(i, result.out, g.window, g.rows);
        keepMap("block.top_down.scale", i);
        if (i > 0) shared[static_cast<size_t>(i)] = keyValue(i);
        if (attentionTraced()) recordTopDown(i, q, result, sources, segments);
        if (trace && request.probe && request.probe->scale == scales.first + i)
            recordProbe(i, q, result, sources, segments);
    }

    /// In place of topDown() and finerToCoarser().
    void recall(int64_t i) {
        const auto& g = geometry(i);
        const at::Tensor taken = valid(i).defined() ? toWindows(valid(i), g.window) : at::Tensor();
        const ExternalAttention result =
            externalAttention(query(i, g.window), *block.memory_, taken);
        finish(i, result.out, g.window, g.rows);
        keepMap("block.top_down.scale", i);
        if (!attentionTraced()) return;
        const int64_t scale = scales.first + i;
        const at::Tensor received = toRaster(result.received, g.window, g.rows);
        (*trace)[pairName("attention.mass", scale, scale)] =
            valid(i).defined() ? valid(i).to(received.scalar_type())
                               : at::ones(received.sizes(), received.options());
        (*trace)[pairName("attention.received", scale, scale)] = received;
        addToTotal(i, received);
        for (int64_t t = i + 1; t < count(); ++t) {  // nobody looks there
            (*trace)[pairName("attention.mass", scale, scales.first + t)] =
                at::zeros(received.sizes(), received.options());
            const int64_t side = geometry(t).side;
            (*trace)[pairName("attention.received", scale, scales.first + t)] =
                at::zeros({batch(), side, side}, received.options());
        }
    }

    void finerToCoarser(int64_t i) {
        const auto& fine = geometry(i - 1);
        const int64_t side = geometry(i).side / fine.rows;
        const at::Tensor q = query(i, side);
        const KeySegment keys = segment(i - 1, keyValue(i - 1), fine.rows);
        const bool off = scales.first + i - 1 == request.scaleOff;
        SegmentedAttention result;
        if (off)  // no keys: the projection's bias alone
            result.out = at::zeros_like(q);
        else
            result = segmentedAttention(q, {keys});
        finish(i, result.out, side, fine.rows);
        keepMap("block.finer_to_coarser.scale", i);
        if (!attentionTraced() || off) return;
        const at::Tensor validQuery = valid(i).defined() ? toWindows(valid(i), side) : at::Tensor();
        const at::Tensor received =
            toRaster(receivedByKeys(q, keys, result.lse, validQuery), fine.window, fine.rows);
        (*trace)[pairName("attention.received_up", scales.first + i, scales.first + i - 1)] =
            received;
        addToTotal(i - 1, received);
    }

    void addToTotal(int64_t k, const at::Tensor& received) {
        auto& total = (*trace)["attention.received_total.k" + std::to_string(scales.first + k)];
        total = total.defined() ? total + received : received;
    }

    void recordTopDown(int64_t i, const at::Tensor& q, const SegmentedAttention& result,
                       const std::vector<int64_t>& sources,
                       const std::vector<KeySegment>& segments) {
        const auto& g = geometry(i);
        const at::Tensor validQuery =
            valid(i).defined() ? toWindows(valid(i), g.window) : at::Tensor();
        for (size_t s = 0; s < sources.size(); ++s) {
            const int64_t k = sources[s];
            at::Tensor mass = segmentMass(result, s);
            if (validQuery.defined()) mass = mass * validQuery;
            (*trace)[pairName("attention.mass", scales.first + i, scales.first + k)] =
                toRaster(mass, g.window, g.rows);
            const at::Tensor received =
                toRaster(receivedByKeys(q, segments[s], result.lse, validQuery), geometry(k).window,
                         geometry(k).rows);
            (*trace)[pairName("attention.received", scales.first + i, scales.first + k)] = received;
            addToTotal(k, received);
        }
    }

    void recordProbe(int64_t i, const at::Tensor& q, const SegmentedAttention& result,
                     const std::vector<int64_t>& sources, const std::vector<KeySegment>& segments) {
        const auto& g = geometry(i);
        const ProbePoint& at = *request.probe;
        if (at.row < 0 || at.column < 0 || at.row >= g.side || at.column >= g.side) return;
        const int64_t window = at.row / g.window * g.rows + at.column / g.window;
        const int64_t token = at.row % g.window * g.window + at.column % g.window;
        for (size_t s = 0; s < sources.size(); ++s) {
            const auto& keys = geometry(sources[s]);
            const int64_t seen = parentWindow(window, g.rows, keys.rows, block.mapping_);
            at::Tensor windows =
                at::zeros({keys.windows(), keys.tokensPerWindow()}, result.lse.options());
            windows[seen] =
                attentionOfQuery(q, segments[s], result.lse, window, token, seen, at.head);
            (*trace)["probe.k" + std::to_string(scales.first + sources[s])] =
                toRaster(windows, keys.window, keys.rows);
        }
    }
};

void AtlasBlock::forward(std::vector<at::Tensor>& maps, const BlockScales& scales,
                         const ForwardMode& mode, const TraceRequest& request, Trace* trace) const {
    Pass pass{*this, maps, scales, mode, request, trace, std::vector<KeyValue>(maps.size())};
    pass.addPositions();
    pass.sumUpwards();
    if (memory_) {
        for (int64_t i = pass.count() - 1; i >= 0; --i) pass.recall(i);
        return;
    }
    for (int64_t i = pass.count() - 1; i >= 0; --i) pass.topDown(i);
    for (int64_t i = 1; i < pass.count(); ++i) pass.finerToCoarser(i);
}

}  // namespace atlas::engine
