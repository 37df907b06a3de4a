// SPDX-License-Identifier: Apache-2.0
// Segments merged by log-sum-exp against one softmax over repeated, concatenated keys, in float64.
#include "engine/nn/segmented_attention.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/kernels/msa_host.h"
#include "engine/nn/cuda_plugin.h"

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

std::vector<KeySegment> makeSegments(const Shape& shape, int64_t batch, bool gradient,
                                     int64_t dim = 8) {
    const WindowGroups own{batch, shape.fine, shape.fine, shape.mapping},
        up{batch, shape.fine, shape.coarse, shape.mapping};
    std::vector<KeySegment> segments;
    for (const auto& [groups, keys] : {std::pair{own, int64_t{6}}, {up, int64_t{5}}}) {
        const int64_t windows = batch * groups.coarseRows * groups.coarseRows;
        KeySegment s{randomTensor({windows, 2, keys, dim}),
                     randomTensor({windows, 2, keys, dim}),
                     {},
                     groups};
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

/// The way from tensors to the plug-in's interface, with the host's operation behind it.
TEST_P(SegmentedAttentionTest, IsExpressedInThePluginsInterface) {
    const at::NoGradGuard noGradient;
    const MsaForwardCall forward = [](const AtlasMsaProblem& p) {
        msaForwardHost(p);
        return static_cast<const char*>(nullptr);
    };
    const MsaReceivedCall received = [](const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
        msaReceivedHost(p, r);
        return static_cast<const char*>(nullptr);
    };
    for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
        // float32: sums of a dozen terms; else: weights and results rounded to the type.
        const double tolerance = type == at::kFloat ? 1e-5 : type == at::kHalf ? 4e-3 : 3e-2;
        auto segments = makeSegments(GetParam(), 2, false, 32);
        auto rounded = segments;
        for (size_t i = 0; i < segments.size(); ++i) {
            // Token by token, as a projection leaves them: no copy is needed.
            segments[i].k = segments[i].k.to(type).transpose(1, 2).contiguous().transpose(1, 2);
            segments[i].v = segments[i].v.to(type);
            rounded[i].k = segments[i].k.to(at::kDouble);
            rounded[i].v = segments[i].v.to(at::kDouble);
        }
        const int64_t windows = 2 * GetParam().fine * GetParam().fine;
        const at::Tensor q = randomTensor({windows, 2, 6, 32}).to(type);
        const auto result = segmentedAttentionBy(forward, q, segments);
        ASSERT_TRUE(result);
        const auto expected = segmentedAttention(q.to(at::kDouble), rounded);
        EXPECT_TRUE(at::allclose(result->out.to(at::kDouble), expected.out, 0, tolerance));
        for (size_t i = 0; i < segments.size(); ++i) {
            EXPECT_TRUE(at::allclose(segmentMass(*result, i).to(at::kDouble),
                                     segmentMass(expected, i), 0, 1e-4));
            if (type == at::kFloat) continue;
            const at::Tensor validQuery = at::rand({windows, 6}) > 0.3;
            const auto mine = receivedBy(received, q, segments[i], result->lse, validQuery);
            ASSERT_TRUE(mine);
            EXPECT_TRUE(at::allclose(
                mine->to(at::kDouble),
                receivedByKeys(q.to(at::kDouble), rounded[i], expected.lse, validQuery), 0, 1e-4));
        }
    }
}

/// Windows that look at any others, not at those of a grid.
TEST(SegmentedAttention, TakesAnIndexOfKeyWindows) {
    const at::NoGradGuard noGradient;
    at::manual_seed(5);
    const at::Tensor q = randomTensor({9, 2, 6, 32});
    KeySegment own{randomTensor({9, 2, 5, 32}), randomTensor({9, 2, 5, 32}), {}, {}};
    KeySegment seen{randomTensor({4, 2, 7, 32}), randomTensor({4, 2, 7, 32}), {}, {}};
    seen.valid = at::rand({4, 7}) > 0.3;
    seen.valid[2].fill_(false);                                          // nobody
    seen.keyWindow = at::tensor({3, 3, 0, 2, 0, 3, 3, 2, 0}, at::kInt);  // none looks at 1
    KeySegment spread = seen;
    spread.k = seen.k.index_select(0, seen.keyWindow);
    spread.v = seen.v.index_select(0, seen.keyWindow);
    spread.valid = seen.valid.index_select(0, seen.keyWindow);
    spread.keyWindow = at::Tensor();
    const auto expected = segmentedAttention(q, {own, spread});
    const at::Tensor validQuery = at::rand({9, 6}) > 0.3;
    const at::Tensor each = receivedByKeys(q, spread, expected.lse, validQuery);
    at::Tensor received = at::zeros({4, 7}, each.options());
    for (int64_t n = 0; n < 9; ++n) received[seen.keyWindow[n].item<int>()] += each[n];

    const auto mine = segmentedAttention(q, {own, seen});
    EXPECT_TRUE(at::allclose(mine.out, expected.out, 1e-6, 1e-6));
    EXPECT_TRUE(at::allclose(segmentMass(mine, 1), segmentMass(expected, 1), 1e-6, 1e-6));
    EXPECT_TRUE(at::allclose(receivedByKeys(q, seen, mine.lse, validQuery), received, 1e-5, 1e-6));

    const auto half = [](KeySegment s) {
        s.k = s.k.to(at::kBFloat16);
        s.v = s.v.to(at::kBFloat16);
        return s;
    };
    const at::Tensor rounded = q.to(at::kBFloat16);
    const auto plugged = segmentedAttentionBy(
        [](const AtlasMsaProblem& p) {
            msaForwardHost(p);
            return static_cast<const char*>(nullptr);
        },
        rounded, {half(own), half(seen)});
    ASSERT_TRUE(plugged);
    EXPECT_TRUE(at::allclose(plugged->out.to(expected.out.scalar_type()), expected.out, 0, 3e-2));
    const auto counted = receivedBy(
        [](const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
            msaReceivedHost(p, r);
            return static_cast<const char*>(nullptr);
        },
        rounded, half(seen), plugged->lse, validQuery);
    ASSERT_TRUE(counted);
    EXPECT_TRUE(at::allclose(counted->to(received.scalar_type()), received, 3e-2, 1e-2));
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

}  // namespace
}  // namespace atlas::engine
