// SPDX-License-Identifier: Apache-2.0
// The block program of segmented attention on an emulated thread block, against the definition in
// float64: the code that runs on tensor cores, with its index tables, masks, tiles and registers.
#include "engine/kernels/msa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <random>

#include "engine/kernels/msa_host.h"

namespace atlas::engine {
namespace {

using Random = std::mt19937;

struct Element {
    int id;
    uint16_t (*round)(float);
    float (*value)(uint16_t);
    double tolerance;  ///< of the peak: weights and results are rounded to this type
};
const Element kElements[] = {{kAtlasBfloat16, toBfloat16, fromBfloat16, 1e-2},
                             {kAtlasFloat16, toFloat16, fromFloat16, 1.5e-3}};

int draw(Random& random, int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
}

/// [windows, heads, rows, dim] of 16-bit numbers, head by head or (as a projection leaves them)
/// token by token.
struct Numbers {
    std::vector<uint16_t> storage;
    AtlasMsaTensor tensor{};

    Numbers(Random& random, const Element& element, int64_t windows, int heads, int rows, int dim,
            double size) {
        const bool byToken = draw(random, 0, 1) == 1;
        const int64_t padding = byToken ? 8 * draw(random, 0, 2) : 0;
        tensor.row = byToken ? static_cast<int64_t>(heads) * dim + padding : dim;
        tensor.head = byToken ? dim : static_cast<int64_t>(rows) * dim;
        tensor.window = byToken ? rows * tensor.row : heads * tensor.head;
        storage.resize(static_cast<size_t>(windows * tensor.window) + 8);
        std::normal_distribution<double> normal(0, size);
        for (auto& x : storage) x = element.round(static_cast<float>(normal(random)));
        auto address = reinterpret_cast<uintptr_t>(storage.data());
        tensor.data = storage.data() + (16 - address % 16) % 16 / 2;
    }
    uint16_t& at(int64_t window, int head, int row, int c) const {
        return static_cast<uint16_t*>(
            tensor.data)[window * tensor.window + head * tensor.head + row * tensor.row + c];
    }
};

struct Segment {
    std::unique_ptr<Numbers> k, v;
    std::vector<uint8_t> valid;
    std::vector<int32_t> window;
};

/// A random problem with its expected answers.
struct Case {
    const Element& element;
    int headDim, heads, queries;
    int64_t windows;
    std::unique_ptr<Numbers> q, out;
    std::vector<Segment> segments;
    std::vector<float> lse, mass;
    std::vector<uint8_t> validQuery;
    AtlasMsaProblem problem{};

    Case(Random& random, const Element& type, int dim, int mostRows)
        : element(type),
          headDim(dim),
          heads(draw(random, 1, 3)),
          queries(draw(random, 1, mostRows)),
          windows(draw(random, 1, 4)) {
        q = std::make_unique<Numbers>(random, type, windows, heads, queries, dim, 1.0);
        out = std::make_unique<Numbers>(random, type, windows, heads, queries, dim, 1.0);
        lse.assign(static_cast<size_t>(windows * heads * queries), 99.0f);
        segments.resize(static_cast<size_t>(draw(random, 1, 4)));
        mass.assign(segments.size() * lse.size(), 99.0f);
        problem.version = kAtlasMsaVersion;
        problem.element = type.id;
        problem.segments = static_cast<int32_t>(segments.size());
        problem.heads = heads;
        problem.queryWindows = windows;
        problem.queriesPerWindow = queries;
        problem.headDim = dim;
        problem.scale = 1 / std::sqrt(static_cast<float>(dim));
        problem.q = q->tensor;
        problem.out = out->tensor;
        problem.lse = lse.data();
        problem.mass = mass.data();
        for (size_t s = 0; s < segments.size(); ++s) addSegment(random, s, mostRows);
        for (int64_t i = 0; i < windows * queries; ++i)
            validQuery.push_back(draw(random, 0, 3) > 0);
    }

    void addSegment(Random& random, size_t index, int mostRows) {
        Segment& segment = segments[index];
        AtlasMsaSegment& to = problem.segment[index];
        const bool own = draw(random, 0, 2) == 0;
        to.keyWindows = own ? windows : draw(random, 1, 3);
        to.keysPerWindow = draw(random, 1, mostRows);
        const double size = draw(random, 0, 3) ? 1.0 : 6.0;  // some with one key that takes all
        segment.k = std::make_unique<Numbers>(random, element, to.keyWindows, heads,
                                              to.keysPerWindow, headDim, size);
        segment.v = std::make_unique<Numbers>(random, element, to.keyWindows, heads,
                                              to.keysPerWindow, headDim, 1.0);
        to.k = segment.k->tensor;
        to.v = segment.v->tensor;
        if (draw(random, 0, 1)) {
            const int share = draw(random, 0, 4);  // now and then no key at all
            for (int64_t i = 0; i < to.keyWindows * to.keysPerWindow; ++i)
                segment.valid.push_back(draw(random, 0, 3) < share);
            to.valid = segment.valid.data();
        }
        if (own) return;
        for (int64_t w = 0; w < windows; ++w)
            segment.window.push_back(draw(random, 0, static_cast<int>(to.keyWindows) - 1));
        to.keyWindow = segment.window.data();
    }

    int64_t keyWindow(size_t s, int64_t window) const {
        return segments[s].window.empty() ? window
                                          : segments[s].window[static_cast<size_t>(window)];
    }
    bool valid(size_t s, int64_t keyWindow, int key) const {
        return segments[s].valid.empty() ||
               segments[s]
                   .valid[static_cast<size_t>(keyWindow * problem.segment[s].keysPerWindow + key)];
    }
    double logit(size_t s, int64_t window, int head, int query, int key) const {
        double sum = 0;
        for (int c = 0; c < headDim; ++c)
            sum += static_cast<double>(element.value(q->at(window, head, query, c))) *
                   element.value(segments[s].k->at(keyWindow(s, window), head, key, c));
        return sum * problem.scale;
    }
    size_t row(int64_t window, int head, int query) const {
        return static_cast<size_t>((window * heads + head) * queries + query);
    }

    /// Calls f(segment, key, weight) for all keys of a query; returns the log-sum-exp.
    template <typename F>
    double eachWeight(int64_t window, int head, int query, const F& f) const {
        std::vector<std::tuple<size_t, int, double>> found;
        double highest = -INFINITY;
        for (size_t s = 0; s < segments.size(); ++s)
            for (int key = 0; key < problem.segment[s].keysPerWindow; ++key)
                if (valid(s, keyWindow(s, window), key)) {
                    found.emplace_back(s, key, logit(s, window, head, query, key));
                    highest = std::max(highest, std::get<2>(found.back()));
                }
        double sum = 0;
        for (const auto& [s, key, x] : found) sum += std::exp(x - highest);
        for (const auto& [s, key, x] : found) f(s, key, std::exp(x - highest) / sum);
        return found.empty() ? -INFINITY : highest + std::log(sum);
    }

    std::string name() const {
        std::string text = "head size " + std::to_string(headDim) + ", " + std::to_string(heads) +
                           " heads, " + std::to_string(windows) + " windows of " +
                           std::to_string(queries) + "; keys";
        for (size_t s = 0; s < segments.size(); ++s)
            text += " " + std::to_string(problem.segment[s].keysPerWindow) +
                    (segments[s].valid.empty() ? "" : " masked");
        return text;
    }
};

void checkForward(const Case& c) {
    double outError = 0, lseError = 0, massError = 0;
    const size_t rows = c.lse.size();
    for (int64_t w = 0; w < c.windows; ++w)
        for (int h = 0; h < c.heads; ++h)
            for (int t = 0; t < c.queries; ++t) {
                std::vector<double> out(static_cast<size_t>(c.headDim)), mass(c.segments.size());
                const double lse = c.eachWeight(w, h, t, [&](size_t s, int key, double weight) {
                    mass[s] += weight;
                    for (int i = 0; i < c.headDim; ++i)
                        out[static_cast<size_t>(i)] += weight * c.element.value(c.segments[s].v->at(
                                                                    c.keyWindow(s, w), h, key, i));
                });
                const size_t row = c.row(w, h, t);
                if (std::isinf(lse))
                    EXPECT_EQ(c.lse[row], lse);
                else
                    lseError = std::max(lseError, std::abs(c.lse[row] - lse));
                for (size_t s = 0; s < mass.size(); ++s)
                    massError = std::max(massError, std::abs(c.mass[s * rows + row] - mass[s]));
                for (int i = 0; i < c.headDim; ++i)
                    outError = std::max(outError, std::abs(c.element.value(c.out->at(w, h, t, i)) -
                                                           out[static_cast<size_t>(i)]));
            }
    EXPECT_LE(outError, 4 * c.element.tolerance) << c.name();  // values reach about 4
    EXPECT_LE(lseError, 1e-4) << c.name();
    EXPECT_LE(massError, 1e-4) << c.name();
}

void checkReceived(Random& random, Case& c) {
    const auto s = static_cast<size_t>(draw(random, 0, static_cast<int>(c.segments.size()) - 1));
    const AtlasMsaSegment& segment = c.problem.segment[s];
    std::vector<int32_t> start{0}, windows;
    for (int64_t k = 0; k < segment.keyWindows; ++k) {
        for (int64_t w = 0; w < c.windows; ++w)
            if (c.keyWindow(s, w) == k) windows.push_back(static_cast<int32_t>(w));
        start.push_back(static_cast<int32_t>(windows.size()));
    }
    AtlasMsaReceived request{};
    request.segment = static_cast<int32_t>(s);
    request.parts = draw(random, 1, 3);
    if (draw(random, 0, 1)) request.validQuery = c.validQuery.data();
    if (segment.keyWindow) {
        request.queryStart = start.data();
        request.queryWindow = windows.data();
    }
    const auto keys = static_cast<size_t>(c.heads * segment.keyWindows * segment.keysPerWindow);
    std::vector<float> received(keys * static_cast<size_t>(request.parts), 99.0f);
    request.received = received.data();
    msaReceivedHost(c.problem, request);
    std::vector<double> expected(keys);
    for (int64_t w = 0; w < c.windows; ++w)
        for (int h = 0; h < c.heads; ++h)
            for (int t = 0; t < c.queries; ++t) {
                if (request.validQuery && !c.validQuery[static_cast<size_t>(w * c.queries + t)])
                    continue;
                c.eachWeight(w, h, t, [&](size_t of, int key, double weight) {
                    if (of != s) return;
                    expected[static_cast<size_t>((h * segment.keyWindows + c.keyWindow(s, w)) *
                                                     segment.keysPerWindow +
                                                 key)] += weight;
                });
            }
    double error = 0;
    for (size_t i = 0; i < keys; ++i) {
        double sum = 0;
        for (size_t part = 0; part < static_cast<size_t>(request.parts); ++part)
            sum += received[part * keys + i];
        error = std::max(error, std::abs(sum - expected[i]) / std::max(1.0, expected[i]));
    }
    EXPECT_LE(error, 2e-4) << c.name();  // products are exact, sums are float32
}

class MsaBlockTest : public testing::TestWithParam<int> {};

TEST_P(MsaBlockTest, EqualsTheDefinitionOverRandomShapes) {
    Random random(static_cast<unsigned>(GetParam()));
    for (const Element& element : kElements)
        for (int dim : {32, 64, 128})
            for (int most : {7, 16, 40, 100}) {
                Case c(random, element, dim, most);
                msaForwardHost(c.problem);
                checkForward(c);
                checkReceived(random, c);
            }
}
INSTANTIATE_TEST_SUITE_P(Seeds, MsaBlockTest, testing::Range(0, 12));

// More rows than a block owns.
TEST(MsaBlock, TakesWindowsOfSeveralBlocks) {
    Random random(77);
    for (int dim : {32, 64, 128}) {
        std::optional<Case> c;
        do c.emplace(random, kElements[1], dim, 300);
        while (c->queries < 140 || c->heads * c->windows > 2 || c->segments.size() > 2);
        msaForwardHost(c->problem);
        checkForward(*c);
        checkReceived(random, *c);
    }
}

/// A part without steps has nothing to wait for, so it must not copy anything either.
TEST(MsaBlock, PartsWithoutStepsEndWithoutCopies) {
    Random random(78);
    for (int dim : {32, 64, 128}) {
        std::optional<Case> c;
        do c.emplace(random, kElements[0], dim, 40);
        while (c->windows != 1);
        msaForwardHost(c->problem);
        AtlasMsaReceived request{};
        request.parts = 3;  // of one step
        std::vector<int32_t> start, window{0};
        const AtlasMsaSegment& s = c->problem.segment[0];
        for (int64_t k = 0; k <= s.keyWindows; ++k) start.push_back(k > c->keyWindow(0, 0));
        if (s.keyWindow) {
            request.queryStart = start.data();
            request.queryWindow = window.data();
        }
        const auto keys = static_cast<size_t>(c->heads * s.keyWindows * s.keysPerWindow);
        std::vector<float> received(3 * keys, 99.0f);
        request.received = received.data();
        ASSERT_NO_THROW(msaReceivedHost(c->problem, request)) << c->name();
        for (size_t i = 0; i < 2 * keys; ++i) ASSERT_EQ(received[i], 0) << c->name();
    }
}

TEST(MsaNumbers, RoundToNearestEven) {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        if (!std::isnan(fromFloat16(half))) {
            EXPECT_EQ(toFloat16(fromFloat16(half)), half);
        }
        if (!std::isnan(fromBfloat16(half))) {
            EXPECT_EQ(toBfloat16(fromBfloat16(half)), half);
        }
    }
    EXPECT_EQ(toFloat16(1 + 0x1p-11f), 0x3c00);      // halfway, to the even one
    EXPECT_EQ(toFloat16(1 + 3 * 0x1p-11f), 0x3c02);  // likewise, upwards
    EXPECT_EQ(toFloat16(65520), 0x7c00);
    EXPECT_EQ(toBfloat16(1 + 0x1p-8f), 0x3f80);
    EXPECT_EQ(toBfloat16(1 + 3 * 0x1p-8f), 0x3f82);
}

TEST(MsaCheck, NamesWhatIsWrong) {
    AtlasMsaProblem p{};
    EXPECT_STREQ(msaCheck(p), "the problem has another version");
    p.version = kAtlasMsaVersion;
    p.segments = 99;
    EXPECT_STREQ(msaCheck(p), "bad number of segments");
    Random random(1);
    Case c(random, kElements[0], 64, 8);
    EXPECT_EQ(msaCheck(c.problem), nullptr);
    c.problem.q.row += 4;
    EXPECT_STREQ(msaCheck(c.problem), "a tensor is not aligned");
    c.problem.q.row -= 4;
    c.problem.headDim = 48;
    EXPECT_STREQ(msaCheck(c.problem), "tensor cores take head sizes 32, 64 and 128");
    c.problem.headDim = 64;
    // Without an index, windows see the keys of the same number: there must be as many.
    auto& segment = c.problem.segment[0];
    const AtlasMsaSegment given = segment;
    segment.keyWindow = nullptr;
    segment.keyWindows = c.windows + 1;
    EXPECT_STREQ(msaCheck(c.problem),
                 "a segment without an index has not as many windows as the queries");
    const std::vector<int32_t> index(static_cast<size_t>(c.windows), 0);
    segment.keyWindow = index.data();
    EXPECT_EQ(msaCheck(c.problem), nullptr);
    AtlasMsaReceived request{};
    std::vector<float> received(1);
    request.parts = 1;
    request.received = received.data();
    EXPECT_STREQ(msaCheckReceived(c.problem, request),
                 "a segment with an index needs one of its query windows too");
    segment.keyWindows = 0;
    EXPECT_STREQ(msaCheck(c.problem), "a segment has no windows");
    segment = given;
    request.segment = 7;
    EXPECT_STREQ(msaCheckReceived(c.problem, request), "there is no such segment");
    EXPECT_THROW(msaReceivedHost(c.problem, request), std::invalid_argument);
}

}  // namespace
}  // namespace atlas::engine
