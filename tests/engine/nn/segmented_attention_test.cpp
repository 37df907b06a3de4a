// SPDX-License-Identifier: Apache-2.0
// Segments merged by log-sum-exp against one softmax over repeated, concatenated keys, in float64.
#include "engine/nn/segmented_attention.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/kernels/msa.h"

namespace atlas::engine {
namespace {

struct Shape {
    int64_t fine, coarse;
    WindowMapping mapping;
    bool masked;
};

at::Tensor randomTensor(std::vector<int64_t> shape) {
    return at::randn(shape, at::kDouble);
}

at::Tensor repeatedKeys(const at::Tensor& k, const WindowGroups& g) {
    std::vector<at::Tensor> rows;
    for (int64_t b = 0; b < g.batch; ++b)
        for (int64_t i = 0; i < g.fineRows * g.fineRows; ++i)
            rows.push_back(k[b * g.coarseRows * g.coarseRows +
                             parentWindow(i, g.fineRows, g.coarseRows, g.mapping)]);
    return at::stack(rows);
}

/// The definition: every query's keys written out, one softmax.
at::Tensor naive(const at::Tensor& q, const std::vector<KeySegment>& segments) {
    std::vector<at::Tensor> k, v, valid;
    for (const auto& s : segments) {
        k.push_back(repeatedKeys(s.k, s.groups));
        v.push_back(repeatedKeys(s.v, s.groups));
        const at::Tensor mask =
            s.valid.defined() ? s.valid : at::ones({s.k.size(0), s.k.size(2)}, at::kBool);
        valid.push_back(repeatedKeys(mask, s.groups));
    }
    at::Tensor scores =
        at::matmul(q, at::cat(k, 2).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(3)));
    scores =
        scores.masked_fill(at::cat(valid, 1).logical_not().unsqueeze(1).unsqueeze(1), -INFINITY);
    return at::matmul(at::softmax(scores, -1).nan_to_num(0), at::cat(v, 2));
}

std::vector<KeySegment> makeSegments(const Shape& shape, int64_t batch, bool gradient) {
    const WindowGroups own{batch, shape.fine, shape.fine, shape.mapping},
        up{batch, shape.fine, shape.coarse, shape.mapping};
    std::vector<KeySegment> segments;
    for (const auto& [groups, keys] : {std::pair{own, int64_t{6}}, {up, int64_t{5}}}) {
        const int64_t windows = batch * groups.coarseRows * groups.coarseRows;
        KeySegment s{
            randomTensor({windows, 2, keys, 8}), randomTensor({windows, 2, keys, 8}), {}, groups};
        if (shape.masked) {
            s.valid = at::rand({windows, keys}) > 0.5;
            s.valid[0].fill_(false);  // a window without any key
        }
        s.k.set_requires_grad(gradient);
        s.v.set_requires_grad(gradient);
        segments.push_back(s);
    }
    return segments;
}

class SegmentedAttentionTest : public testing::TestWithParam<Shape> {};
class SegmentedAttentionGradientTest : public testing::TestWithParam<Shape> {};

TEST_P(SegmentedAttentionTest, EqualsOneSoftmaxOverAllKeys) {
    const at::NoGradGuard noGradient;
    const auto segments = makeSegments(GetParam(), 2, false);
    const at::Tensor q = randomTensor({2 * GetParam().fine * GetParam().fine, 2, 6, 8});
    const auto result = segmentedAttention(q, segments);
    // float64 throughout; rounding alone is left.
    EXPECT_TRUE(at::allclose(result.out, naive(q, segments), 1e-9, 1e-9));
    at::Tensor mass = segmentMass(result, 0) + segmentMass(result, 1);
    const at::Tensor empty = result.lse.isinf().all(1);
    EXPECT_TRUE(at::allclose(mass, empty.logical_not().to(at::kDouble), 1e-6, 1e-6));
}

// Without masks: training has none, and the naive reference divides 0 by 0 in windows without keys.
TEST_P(SegmentedAttentionGradientTest, IsThatOfTheNaiveReference) {
    const auto segments = makeSegments(GetParam(), 1, true);
    at::Tensor q = randomTensor({GetParam().fine * GetParam().fine, 2, 6, 8});
    q.set_requires_grad(true);
    const at::Tensor weight = randomTensor(q.sizes().vec());
    (segmentedAttention(q, segments).out * weight).sum().backward();
    const std::vector<at::Tensor> mine{q.grad().clone(), segments[0].k.grad().clone(),
                                       segments[1].v.grad().clone()};
    for (const at::Tensor& x : {q, segments[0].k, segments[1].v, segments[0].v, segments[1].k})
        x.mutable_grad() = at::Tensor();
    (naive(q, segments) * weight).sum().backward();
    EXPECT_TRUE(at::allclose(mine[0], q.grad(), 1e-8, 1e-9));
    EXPECT_TRUE(at::allclose(mine[1], segments[0].k.grad(), 1e-8, 1e-9));
    EXPECT_TRUE(at::allclose(mine[2], segments[1].v.grad(), 1e-8, 1e-9));
}

TEST_P(SegmentedAttentionTest, HostKernelAgrees) {
    const at::NoGradGuard noGradient;
    auto segments = makeSegments(GetParam(), 2, false);
    const at::Tensor q =
        randomTensor({2 * GetParam().fine * GetParam().fine, 2, 6, 8}).to(at::kFloat).contiguous();
    at::Tensor out = at::empty_like(q), lse = at::empty({q.size(0), 2, 6});
    std::vector<at::Tensor> alive;
    AtlasMsaProblem p{};
    p.version = kAtlasMsaVersion;
    p.segments = 2;
    p.queryWindows = q.size(0);
    p.heads = 2;
    p.queriesPerWindow = 6;
    p.headDim = 8;
    p.scale = 1 / std::sqrt(8.0f);
    p.q = q.const_data_ptr<float>();
    p.out = out.data_ptr<float>();
    p.lse = lse.data_ptr<float>();
    std::vector<std::vector<int32_t>> windows(2);
    for (size_t i = 0; i < 2; ++i) {
        const auto& s = segments[i];
        alive.push_back(s.k.to(at::kFloat).contiguous());
        p.segment[i].k = alive.back().const_data_ptr<float>();
        alive.push_back(s.v.to(at::kFloat).contiguous());
        p.segment[i].v = alive.back().const_data_ptr<float>();
        p.segment[i].keyWindows = s.k.size(0);
        p.segment[i].keysPerWindow = static_cast<int32_t>(s.k.size(2));
        if (s.valid.defined()) {
            alive.push_back(s.valid.to(at::kByte).contiguous());
            p.segment[i].valid = alive.back().const_data_ptr<uint8_t>();
        }
        const auto& g = s.groups;
        for (int64_t b = 0; b < g.batch; ++b)
            for (int64_t w = 0; w < g.fineRows * g.fineRows; ++w)
                windows[i].push_back(
                    static_cast<int32_t>(b * g.coarseRows * g.coarseRows +
                                         parentWindow(w, g.fineRows, g.coarseRows, g.mapping)));
        p.segment[i].keyWindow = windows[i].data();
    }
    msaForwardHost(p);
    // float32 sums of a dozen terms.
    EXPECT_TRUE(at::allclose(out.to(at::kDouble), naive(q.to(at::kDouble), segments), 1e-5, 1e-5));
}

const std::vector<Shape> kUnmasked{{2, 1, WindowMapping::Raster, false},
                                   {4, 2, WindowMapping::Raster, false},
                                   {4, 2, WindowMapping::Nested, false},
                                   {6, 2, WindowMapping::Nested, false},
                                   {1, 1, WindowMapping::Nested, false}};

INSTANTIATE_TEST_SUITE_P(Unmasked, SegmentedAttentionGradientTest, testing::ValuesIn(kUnmasked));
INSTANTIATE_TEST_SUITE_P(Shapes, SegmentedAttentionTest,
                         testing::Values(Shape{2, 1, WindowMapping::Raster, false},
                                         Shape{4, 2, WindowMapping::Raster, false},
                                         Shape{4, 2, WindowMapping::Nested, false},
                                         Shape{6, 2, WindowMapping::Nested, false},
                                         Shape{1, 1, WindowMapping::Nested, false},
                                         Shape{4, 2, WindowMapping::Nested, true},
                                         Shape{3, 1, WindowMapping::Raster, true}));

TEST(SegmentedAttention, ReceivedSumsToTheNumberOfQueries) {
    const at::NoGradGuard noGradient;
    const auto segments = makeSegments({4, 2, WindowMapping::Nested, false}, 1, false);
    const at::Tensor q = randomTensor({16, 2, 6, 8});
    const auto result = segmentedAttention(q, segments);
    double sum = 0;
    for (const auto& segment : segments)
        sum += receivedByKeys(q, segment, result.lse, {}).sum().item<double>();
    EXPECT_NEAR(sum, 16 * 6, 1e-4);
}

TEST(MsaCheck, NamesWhatIsWrong) {
    AtlasMsaProblem p{};
    EXPECT_STREQ(msaCheck(p), "the problem has another version");
    p.version = kAtlasMsaVersion;
    p.segments = 99;
    EXPECT_STREQ(msaCheck(p), "bad number of segments");
}

}  // namespace
}  // namespace atlas::engine
