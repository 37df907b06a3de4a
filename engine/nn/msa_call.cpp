// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/msa_call.h"

#include <algorithm>
#include <cmath>
#include <list>

#include "engine/nn/window_index.h"

namespace atlas::engine {
namespace {

constexpr int64_t kBlocksToFillAGpu = 512;

/// The interface has one number of heads and one head size, and masks of one length.
bool fits(const at::Tensor& q, const KeySegment& segment) {
    return segment.k.size(1) == q.size(1) && segment.k.size(3) == q.size(3) &&
           segment.v.sizes() == segment.k.sizes() &&
           (!segment.valid.defined() || (segment.valid.size(0) == segment.k.size(0) &&
                                         segment.valid.size(1) == segment.k.size(2))) &&
           (!segment.keyWindow.defined() || segment.keyWindow.size(0) == q.size(0));
}

/// A problem in the making; holds on to what its pointers point to.
struct Problem {
    AtlasMsaProblem problem{};
    std::list<at::Tensor> alive;
    at::Tensor query;

    explicit Problem(const at::Tensor& q) {
        const bool half = (q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf) &&
                          (q.size(3) == 32 || q.size(3) == 64 || q.size(3) == 128);
        type_ = half ? q.scalar_type() : at::kFloat;
        problem.version = kAtlasMsaVersion;
        problem.element = !half                              ? kAtlasFloat32
                          : q.scalar_type() == at::kBFloat16 ? kAtlasBfloat16
                                                             : kAtlasFloat16;
        query = keep(q);
        problem.q = describe(query);
        problem.heads = static_cast<int32_t>(q.size(1));
        problem.queryWindows = q.size(0);
        problem.queriesPerWindow = static_cast<int32_t>(q.size(2));
        problem.headDim = static_cast<int32_t>(q.size(3));
        problem.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(3))));
    }

    void add(const KeySegment& from) {
        auto& to = problem.segment[problem.segments++];
        to.k = describe(keep(from.k));
        to.v = describe(keep(from.v));
        to.keyWindows = from.k.size(0);
        to.keysPerWindow = static_cast<int32_t>(from.k.size(2));
        if (from.valid.defined()) to.valid = bytes(from.valid);
        if (from.keyWindow.defined()) {
            alive.push_back(from.keyWindow.to(query.device(), at::kInt).contiguous());
            to.keyWindow = alive.back().const_data_ptr<int32_t>();
        } else if (from.groups.fineRows != from.groups.coarseRows) {
            alive.push_back(WindowIndexCache::shared().get(from.groups, query.device()).keyWindow);
            to.keyWindow = alive.back().const_data_ptr<int32_t>();
        }
    }

    const uint8_t* bytes(const at::Tensor& mask) {
        alive.push_back(mask.to(query.device(), at::kByte).contiguous());
        return alive.back().const_data_ptr<uint8_t>();
    }

    static AtlasMsaTensor describe(const at::Tensor& x) {
        return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
    }

  private:
    /// As it lies where the interface can express that, otherwise a dense copy.
    const at::Tensor& keep(const at::Tensor& x) {
        at::Tensor kept = x.to(query.defined() ? query.device() : x.device(), type_);
        const bool aligned = type_ == at::kFloat || msaTensorAligned(describe(kept));
        if (kept.stride(3) != 1 || !aligned) kept = kept.contiguous();
        alive.push_back(kept);
        return alive.back();
    }

    at::ScalarType type_;
};

}  // namespace

std::optional<SegmentedAttention> segmentedAttentionBy(const MsaForwardCall& call,
                                                       const at::Tensor& q,
                                                       const std::vector<KeySegment>& segments) {
    if (q.size(3) > kAtlasMsaMaxHeadDim || segments.size() > kAtlasMsaMaxSegments)
        return std::nullopt;
    for (const auto& segment : segments)
        if (!fits(q, segment)) return std::nullopt;
    Problem made(q);
    for (const auto& segment : segments) made.add(segment);
    auto& problem = made.problem;
    const at::Tensor& query = made.query;
    SegmentedAttention result;
    // Token by token, as the projection that comes next wants it.
    result.out =
        at::empty({query.size(0), query.size(2), query.size(1), query.size(3)}, query.options())
            .transpose(1, 2);
    const auto floats = query.options().dtype(at::kFloat);
    auto rows = query.sizes().slice(0, 3).vec();
    result.lse = at::empty(rows, floats);
    rows.insert(rows.begin(), static_cast<int64_t>(segments.size()));
    const at::Tensor mass = at::empty(rows, floats);
    problem.out = Problem::describe(result.out);
    problem.lse = result.lse.data_ptr<float>();
    problem.mass = mass.data_ptr<float>();
    if (call(problem)) return std::nullopt;
    for (size_t i = 0; i < segments.size(); ++i)
        result.segmentLse.push_back(mass[static_cast<int64_t>(i)].log() + result.lse);
    result.out = result.out.to(q.scalar_type());
    return result;
}

std::optional<at::Tensor> receivedBy(const MsaReceivedCall& call, const at::Tensor& q,
                                     const KeySegment& segment, const at::Tensor& lse,
                                     const at::Tensor& validQuery) {
    if (!fits(q, segment)) return std::nullopt;
    Problem made(q);
    if (made.problem.element == kAtlasFloat32) return std::nullopt;
    made.add(segment);
    made.problem.out = made.problem.q;  // unused
    made.alive.push_back(lse.to(at::kFloat).contiguous());
    made.problem.lse = made.alive.back().data_ptr<float>();
    const int64_t heads = q.size(1), windows = segment.k.size(0), keys = segment.k.size(2);
    const int64_t seenBy = q.size(0) / std::max<int64_t>(1, windows);  // on average
    AtlasMsaReceived request{};
    request.parts = static_cast<int32_t>(
        std::clamp<int64_t>(kBlocksToFillAGpu / std::max<int64_t>(1, heads * windows), 1,
                            std::max<int64_t>(1, seenBy)));
    if (validQuery.defined()) request.validQuery = made.bytes(validQuery);
    WindowIndex index;
    if (made.problem.segment[0].keyWindow) {
        index = segment.keyWindow.defined()
                    ? windowIndexOf(segment.keyWindow.to(q.device(), at::kInt), windows)
                    : WindowIndexCache::shared().get(segment.groups, q.device());
        request.queryStart = index.queryStart.const_data_ptr<int32_t>();
        request.queryWindow = index.queryWindow.const_data_ptr<int32_t>();
    }
    const at::Tensor received =
        at::empty({request.parts, heads, windows, keys}, q.options().dtype(at::kFloat));
    request.received = received.data_ptr<float>();
    if (call(made.problem, request)) return std::nullopt;
    return received.sum(0).mean(0);
}

}  // namespace atlas::engine
