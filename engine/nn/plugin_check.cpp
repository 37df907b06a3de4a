// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/plugin_check.h"

#include <algorithm>
#include <array>
#include <random>

namespace atlas::engine {
namespace {

// ---- Right ------------------------------------------------------------------------------------

constexpr int64_t kHeads = 2;
/// Rows of a window for which the block has 16, 64 and (head sizes 32 and 64) 128.
constexpr std::array<int64_t, 3> kRows{13, 50, 130};
constexpr double kSumsTolerance = 1e-3;  // log-sum-exps, masses and sums of weights are float32

double outTolerance(at::ScalarType type) {  // values reach about 4
    return type == at::kFloat ? 1e-4 : type == at::kHalf ? 4e-3 : 3e-2;
}

/// Numbers of its own, so that nobody's sequence of random numbers depends on the machine.
class Numbers {
  public:
    at::Tensor normal(const std::vector<int64_t>& shape) {
        at::Tensor x = at::empty(shape, at::kFloat);
        std::normal_distribution<float> draw;
        std::generate_n(x.data_ptr<float>(), x.numel(), [&] { return draw(random_); });
        return x;
    }
    /// Two of three are true; the first of a row always is.
    at::Tensor mask(int64_t rows, int64_t columns) {
        at::Tensor x = at::empty({rows, columns}, at::kByte);
        std::generate_n(x.data_ptr<uint8_t>(), x.numel(), [&] { return random_() % 3 > 0; });
        x.slice(1, 0, 1).fill_(1);
        return x.to(at::kBool);
    }

  private:
    std::mt19937 random_{20261129};
};

/// Windows that look at themselves and at a coarser scale, here in `type` and as it is in float32.
struct Question {
    at::Tensor q, exactQ, validQuery;
    std::vector<KeySegment> segments, exact;

    Question(const PluginCase& asked, const at::Device& device) {
        const int64_t rows = asked.rows;
        Numbers numbers;
        const WindowGroups own{1, 2, 2, WindowMapping::Raster}, up{1, 2, 1, WindowMapping::Nested};
        const auto rounded = [&](int64_t windows, int64_t n) {
            return numbers.normal({windows, kHeads, n, asked.headDim}).to(asked.type);
        };
        const at::Tensor given = rounded(4, rows);
        exactQ = given.to(at::kFloat);
        q = given.to(device);
        validQuery = numbers.mask(4, rows);
        for (const auto& [groups, windows, keys] :
             {std::tuple{own, int64_t{4}, rows}, {up, int64_t{1}, rows + 7}}) {
            const at::Tensor k = rounded(windows, keys), v = rounded(windows, keys);
            const at::Tensor valid = windows == 4 ? numbers.mask(windows, keys) : at::Tensor();
            exact.push_back({k.to(at::kFloat), v.to(at::kFloat), valid, groups});
            segments.push_back({k.to(device), v.to(device), valid, groups});
        }
    }
};

double furthest(const at::Tensor& mine, const at::Tensor& expected) {
    const at::Tensor gap = (mine.to(at::kCPU, at::kFloat) - expected).abs();
    // A number that is none is as wrong as can be.
    return gap.nan_to_num(1e30, 1e30, 1e30).max().item<double>();
}

std::string wrongBy(const char* what, double error, double tolerance) {
    if (error <= tolerance) return {};
    return std::string(what) + " is off by " + std::to_string(error) + " (at most " +
           std::to_string(tolerance) + ")";
}

std::string ask(const MsaForwardCall& forward, const MsaReceivedCall& received,
                const Question& asked, at::ScalarType type) {
    const auto expected = segmentedAttention(asked.exactQ, asked.exact);
    const auto mine = segmentedAttentionBy(forward, asked.q, asked.segments);
    if (!mine) return "the call failed";
    std::string wrong =
        wrongBy("the output", furthest(mine->out, expected.out), outTolerance(type));
    if (wrong.empty())
        wrong = wrongBy("the log-sum-exp", furthest(mine->lse, expected.lse), kSumsTolerance);
    for (size_t s = 0; wrong.empty() && s < asked.segments.size(); ++s) {
        const at::Tensor mass = (mine->segmentLse[s] - mine->lse).exp(),
                         exact = (expected.segmentLse[s] - expected.lse).exp();
        wrong = wrongBy("the mass", furthest(mass, exact), kSumsTolerance);
        if (!wrong.empty() || type == at::kFloat) continue;
        const auto counted =
            receivedBy(received, asked.q, asked.segments[s], mine->lse, asked.validQuery);
        if (!counted) return "the call for received attention failed";
        const at::Tensor sums =
            receivedByKeys(asked.exactQ, asked.exact[s], expected.lse, asked.validQuery);
        wrong = wrongBy("received attention", furthest(*counted, sums),
                        kSumsTolerance * std::max(1.0, sums.max().item<double>()));
    }
    return wrong;
}

// ---- Fast -------------------------------------------------------------------------------------

// Seconds, on paper, of a GPU of the H100's class; engine/README.md. The row kernel's loads and
// local sums go through the load unit, five for each product pair of a warp.
constexpr double kRowChannel = 6e-9;  // a thread's way through one channel of one key
constexpr double kRowProducts = 2.5e12, kLibraryProducts = 15e12;  // a second
constexpr double kLogit = 24.0 / 3e12;    // written and read by each operation in turn
constexpr double kLaunch = 3e-6;          // between a replayed and a plain one
constexpr int64_t kLibraryLaunches = 11;  // a segment, with its share of the merging

}  // namespace

std::string PluginCase::name() const {
    return std::string(at::toString(type)) + ", head size " + std::to_string(headDim) +
           ", windows of " + std::to_string(rows);
}

std::vector<PluginCase> pluginCases() {
    std::vector<PluginCase> cases;
    for (const auto type : {at::kBFloat16, at::kHalf})
        for (const int64_t size : {32, 64, 128})
            for (const int64_t rows : kRows) cases.push_back({type, size, rows});
    for (const int64_t size : {24, 64}) cases.push_back({at::kFloat, size, kRows[1]});
    return cases;
}

std::string wrongOfPlugin(const PluginCase& asked, const MsaForwardCall& forward,
                          const MsaReceivedCall& received, const at::Device& device) {
    const at::NoGradGuard noGradient;
    return ask(forward, received, Question(asked, device), asked.type);
}

std::string pluginSelfTest(const MsaForwardCall& forward, const MsaReceivedCall& received,
                           const at::Device& device) {
    for (const PluginCase& asked : pluginCases())
        if (const std::string wrong = wrongOfPlugin(asked, forward, received, device);
            !wrong.empty())
            return "in " + asked.name() + ": " + wrong;
    return {};
}

AttentionWork AttentionWork::of(const at::Tensor& q, const std::vector<KeySegment>& segments) {
    AttentionWork work{q.scalar_type(), q.size(3), q.size(0), q.size(1), q.size(2), {}};
    for (const auto& segment : segments) work.keys.push_back(segment.k.size(2));
    return work;
}

bool pluginIsFaster(const AttentionWork& w) {
    const bool half = w.type == at::kBFloat16 || w.type == at::kHalf;
    if (half) return w.headDim == 32 || w.headDim == 64 || w.headDim == 128;
    if (w.type != at::kFloat) return false;  // float64 stays what it is
    double keys = 0;
    for (const int64_t n : w.keys) keys += static_cast<double>(n);
    const auto size = static_cast<double>(w.headDim);
    const double logits = keys * static_cast<double>(w.windows * w.heads * w.queries);
    const double products = 2 * logits * size;  // multiply-adds
    const double rows = kLaunch + std::max(keys * size * kRowChannel, products / kRowProducts);
    const double library =
        kLaunch * static_cast<double>(kLibraryLaunches * static_cast<int64_t>(w.keys.size())) +
        products / kLibraryProducts + logits * kLogit;
    return rows < library;
}

}  // namespace atlas::engine
