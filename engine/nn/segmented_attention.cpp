// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/segmented_attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/nn/cuda_plugin.h"
#include "engine/nn/notice.h"

namespace atlas::engine {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr int64_t kChunkElements = int64_t{1} << 24;  // of attention weights held at once

std::vector<int64_t> shapeWithTail(std::vector<int64_t> head, const at::Tensor& x, int64_t from) {
    for (int64_t i = from; i < x.dim(); ++i) head.push_back(x.size(i));
    return head;
}

std::vector<int64_t> orderWithTail(std::vector<int64_t> head, int64_t dims) {
    for (auto i = static_cast<int64_t>(head.size()); i < dims; ++i) head.push_back(i);
    return head;
}

double headScale(const at::Tensor& q) {
    return 1 / std::sqrt(static_cast<double>(q.size(-1)));
}

/// Additive mask [key windows, 1, 1, keys]: 0 or -inf.
at::Tensor additiveMask(const at::Tensor& valid, at::ScalarType type) {
    const at::Tensor mask = at::zeros(valid.sizes(), valid.options().dtype(type));
    return mask.masked_fill(valid.logical_not(), kMinusInfinity).unsqueeze(1).unsqueeze(1);
}

at::Tensor logits(const at::Tensor& q, const KeySegment& segment) {
    at::Tensor scores = at::matmul(q, segment.k.transpose(-1, -2));
    if (scores.scalar_type() != at::kDouble) scores = scores.to(at::kFloat);
    scores = scores * headScale(q);
    if (segment.valid.defined())
        scores = scores + additiveMask(segment.valid, scores.scalar_type());
    return scores;
}

struct Partial {
    at::Tensor out, lse;
};

/// With the keys of each query window as its own, where an index says whose they are.
KeySegment spreadOut(const KeySegment& segment) {
    if (!segment.keyWindow.defined()) return segment;
    const auto pick = [&](const at::Tensor& x) {
        return x.defined() ? x.index_select(0, segment.keyWindow) : x;
    };
    return {pick(segment.k), pick(segment.v), pick(segment.valid), {}};
}

/// Weight and result 0 for rows without a key, whatever the library returns for them.
void clearEmpty(Partial& partial, const at::Tensor& valid) {
    const at::Tensor empty = valid.any(1).logical_not().view({-1, 1, 1});
    partial.lse = partial.lse.masked_fill(empty, kMinusInfinity);
    partial.out = partial.out.masked_fill(empty.unsqueeze(-1), 0);
}

Partial attendDifferentiable(const at::Tensor& q, const KeySegment& segment) {
    const at::Tensor scores = logits(q, segment);
    Partial partial{at::matmul(at::softmax(scores, -1).to(segment.v.scalar_type()), segment.v),
                    at::logsumexp(scores, {-1})};
    if (segment.valid.defined()) clearEmpty(partial, segment.valid);
    return partial;
}

Partial attendFlash(const at::Tensor& q, const KeySegment& segment) {
    c10::optional<at::Tensor> mask;
    if (segment.valid.defined()) mask = additiveMask(segment.valid, q.scalar_type());
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(q, segment.k, segment.v, 0.0,
                                                                      false, mask, headScale(q));
    Partial partial{out, lse.scalar_type() == at::kDouble ? lse : lse.to(at::kFloat)};
    if (segment.valid.defined()) clearEmpty(partial, segment.valid);
    return partial;
}

/// LibTorch's own attention on a GPU: the flash kernel where it can be had, otherwise logits, of a
/// bounded number of windows at a time.
Partial attendOnGpu(const at::Tensor& q, const KeySegment& segment) {
    const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
    if (half && !segment.valid.defined() && q.size(3) % 8 == 0) try {
            auto result = at::_scaled_dot_product_flash_attention(q, segment.k, segment.v, 0.0,
                                                                  false, false, headScale(q));
            return {std::get<0>(result), std::get<1>(result)};
        } catch (const c10::OutOfMemoryError&) {
            throw;
        } catch (const c10::Error& error) {  // GPUs before Ampere have none
            notice("LibTorch's flash attention does not run on " + q.device().str() + ": " +
                   error.what_without_backtrace() + "; slower operations do its work");
        }
    const int64_t cost = q.size(1) * q.size(2) * segment.k.size(2);
    const int64_t step = std::max<int64_t>(1, kChunkElements / cost);
    std::vector<at::Tensor> outs, lses;
    for (int64_t w = 0; w < q.size(0); w += step) {
        const auto cut = [&](const at::Tensor& x) {
            return x.defined() ? x.slice(0, w, std::min(w + step, x.size(0))) : x;
        };
        const Partial part = attendDifferentiable(
            cut(q), {cut(segment.k), cut(segment.v), cut(segment.valid), segment.groups});
        outs.push_back(part.out);
        lses.push_back(part.lse);
    }
    return {at::cat(outs), at::cat(lses)};
}

Partial attend(const at::Tensor& q, const KeySegment& segment) {
    const bool gradient =
        at::GradMode::is_enabled() &&
        (q.requires_grad() || segment.k.requires_grad() || segment.v.requires_grad());
    if (gradient) return attendDifferentiable(q, segment);
    return q.is_cpu() ? attendFlash(q, segment) : attendOnGpu(q, segment);
}

}  // namespace

at::Tensor WindowGroups::group(const at::Tensor& x) const {
    const int64_t f = factor();
    if (f == 1) return x;
    const int64_t r = coarseRows, heads = x.size(1), tokens = x.size(2);
    if (mapping == WindowMapping::Raster) {
        const at::Tensor runs = x.reshape(shapeWithTail({batch * r * r, f * f}, x, 1));
        return runs.permute(orderWithTail({0, 2, 1}, runs.dim()))
            .reshape(shapeWithTail({batch * r * r, heads, f * f * tokens}, x, 3));
    }
    const at::Tensor cells = x.reshape(shapeWithTail({batch, r, f, r, f}, x, 1));
    return cells.permute(orderWithTail({0, 1, 3, 5, 2, 4}, cells.dim()))
        .reshape(shapeWithTail({batch * r * r, heads, f * f * tokens}, x, 3));
}

at::Tensor WindowGroups::ungroup(const at::Tensor& x) const {
    const int64_t f = factor();
    if (f == 1) return x;
    const int64_t r = coarseRows, heads = x.size(1), tokens = x.size(2) / (f * f);
    const auto result = shapeWithTail({batch * fineRows * fineRows, heads, tokens}, x, 3);
    if (mapping == WindowMapping::Raster) {
        const at::Tensor runs =
            x.reshape(shapeWithTail({batch * r * r, heads, f * f, tokens}, x, 3));
        return runs.permute(orderWithTail({0, 2, 1}, runs.dim())).reshape(result);
    }
    const at::Tensor cells = x.reshape(shapeWithTail({batch, r, r, heads, f, f, tokens}, x, 3));
    return cells.permute(orderWithTail({0, 1, 4, 2, 5, 3}, cells.dim())).reshape(result);
}

SegmentedAttention segmentedAttention(const at::Tensor& q,
                                      const std::vector<KeySegment>& segments) {
    if (auto plugged = segmentedAttentionByPlugin(q, segments)) return *plugged;
    SegmentedAttention result;
    std::vector<at::Tensor> outs;
    for (const auto& given : segments) {
        const KeySegment segment = spreadOut(given);
        const Partial partial = attend(segment.groups.group(q), segment);
        outs.push_back(segment.groups.ungroup(partial.out));
        result.segmentLse.push_back(segment.groups.ungroup(partial.lse.unsqueeze(-1)).squeeze(-1));
    }
    if (segments.size() == 1) {
        result.out = outs[0];
        result.lse = result.segmentLse[0];
        return result;
    }
    result.lse = at::logsumexp(at::stack(result.segmentLse), {0});
    for (size_t i = 0; i < outs.size(); ++i) {
        at::Tensor weight = (result.segmentLse[i] - result.lse).exp();
        if (segments[i].valid.defined())  // -inf minus -inf: no key anywhere
            weight = weight.nan_to_num(0);
        const at::Tensor part = outs[i] * weight.unsqueeze(-1);
        result.out = i == 0 ? part : result.out + part;
    }
    result.out = result.out.to(q.scalar_type());
    return result;
}

at::Tensor segmentMass(const SegmentedAttention& result, size_t index) {
    return (result.segmentLse[index] - result.lse).exp().nan_to_num(0).mean(1);
}

at::Tensor receivedByKeys(const at::Tensor& q, const KeySegment& segment, const at::Tensor& lse,
                          const at::Tensor& validQuery) {
    if (auto plugged = receivedByPlugin(q, segment, lse, validQuery)) return *plugged;
    if (segment.keyWindow.defined()) {
        const at::Tensor each = receivedByKeys(q, spreadOut(segment), lse, validQuery);
        return at::zeros({segment.k.size(0), each.size(1)}, each.options())
            .index_add_(0, segment.keyWindow, each);
    }
    const at::Tensor grouped = segment.groups.group(q);
    const at::Tensor total = segment.groups.group(lse.unsqueeze(-1));
    at::Tensor valid;
    if (validQuery.defined())
        valid = segment.groups.group(validQuery.unsqueeze(1).unsqueeze(-1)).to(total.scalar_type());
    const int64_t windows = grouped.size(0), queries = grouped.size(2), keys = segment.k.size(2);
    const at::Tensor received =
        at::zeros({windows, keys}, grouped.options().dtype(total.scalar_type()));
    const int64_t rowCost = grouped.size(1) * keys;
    const int64_t queryStep = std::clamp<int64_t>(kChunkElements / rowCost, 1, queries);
    const int64_t windowStep =
        std::clamp<int64_t>(kChunkElements / (rowCost * queryStep), 1, windows);
    for (int64_t w = 0; w < windows; w += windowStep) {
        const int64_t wEnd = std::min(w + windowStep, windows);
        KeySegment part = segment;
        part.k = segment.k.slice(0, w, wEnd);
        if (segment.valid.defined()) part.valid = segment.valid.slice(0, w, wEnd);
        for (int64_t t = 0; t < queries; t += queryStep) {
            const int64_t tEnd = std::min(t + queryStep, queries);
            const auto cut = [&](const at::Tensor& x) {
                return x.slice(0, w, wEnd).slice(2, t, tEnd);
            };
            at::Tensor p = (logits(cut(grouped), part) - cut(total)).exp();
            if (segment.valid.defined()) p = p.nan_to_num(0);
            if (valid.defined()) p = p * cut(valid);
            received.slice(0, w, wEnd).add_(p.sum(2).mean(1));
        }
    }
    return received;
}

at::Tensor attentionOfQuery(const at::Tensor& q, const KeySegment& segment, const at::Tensor& lse,
                            int64_t window, int64_t query, int64_t keyWindow, int64_t head) {
    KeySegment one = segment;
    one.k = segment.k.slice(0, keyWindow, keyWindow + 1);
    if (segment.valid.defined()) one.valid = segment.valid.slice(0, keyWindow, keyWindow + 1);
    const auto pick = [&](const at::Tensor& x) {
        return x.slice(0, window, window + 1).slice(2, query, query + 1);
    };
    const at::Tensor weights = (logits(pick(q), one) - pick(lse.unsqueeze(-1))).exp().nan_to_num(0);
    return (head < 0 ? weights.mean(1) : weights.select(1, head)).flatten();
}

}  // namespace atlas::engine
