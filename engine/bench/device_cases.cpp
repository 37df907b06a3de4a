// SPDX-License-Identifier: Apache-2.0
// What a GPU is for: attention over segments against LibTorch's with keys repeated, whole networks
// as the program runs them (recorded, in bfloat16) against the original's manner, whole images.
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <nlohmann/json.hpp>

#include "engine/bench/benchmark_case.h"
#include "engine/bench/plain_atlas.h"
#include "engine/nn/atlas_cost.h"
#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/device_graph.h"

namespace atlas::engine {
namespace {

/// 256 queries a window, own keys and those of coarser windows that `shared` fine ones see each.
void addAttention(BenchmarkCases& cases, const at::Device& device, int64_t windows, int64_t heads,
                  int64_t size, const std::vector<int64_t>& shared) {
    constexpr int64_t kTokens = 256;
    const int64_t keys = kTokens * (1 + static_cast<int64_t>(shared.size())), width = heads * size;
    const std::string name = "msa_q256_k" + std::to_string(keys) + "_d" + std::to_string(size) +
                             "_w" + std::to_string(windows) + "_bf16";
    cases.add(name, false, [=] {
        const auto options = at::TensorOptions().device(device).dtype(at::kBFloat16);
        const auto tensor = [=](int64_t n) {  // as a projection leaves it
            return at::randn({n, kTokens, heads, size}, options).transpose(1, 2);
        };
        const at::Tensor q = tensor(windows);
        std::vector<KeySegment> segments{{tensor(windows), tensor(windows), {}, {}}};
        double tensors = 4 * static_cast<double>(windows);  // q, k, v, out
        for (const int64_t f : shared) {
            const int64_t parents = std::max<int64_t>(1, windows / f);
            KeySegment segment{tensor(parents), tensor(parents), {}, {}};
            std::vector<int32_t> index;
            for (int64_t w = 0; w < windows; ++w)
                index.push_back(static_cast<int32_t>(std::min(w / f, parents - 1)));
            segment.keyWindow = at::tensor(index, at::kInt).to(device);
            segments.push_back(segment);
            tensors += 2 * static_cast<double>(parents);
        }
        return BenchmarkCase{name, 4.0 * static_cast<double>(windows * kTokens * keys * width),
                             2.0 * tensors * static_cast<double>(kTokens * width),
                             [=] { segmentedAttention(q, segments); },
                             [=] {
                                 std::vector<at::Tensor> k, v;
                                 for (const auto& s : segments) {
                                     const bool own = !s.keyWindow.defined();
                                     k.push_back(own ? s.k : s.k.index_select(0, s.keyWindow));
                                     v.push_back(own ? s.v : s.v.index_select(0, s.keyWindow));
                                 }
                                 plainAttention(q, at::cat(k, 2), at::cat(v, 2));
                             }};
    });
}

struct Networks {
    Networks(const AtlasConfig& config, const at::Device& device)
        : unfolded(make(config, device)),
          folded(make(config, device)),
          plain(unfolded),
          recorded([this, device](const at::Tensor& images) {
              const Autocast autocast(true, device.type());
              return Trace{{"logits", folded.forward(images, {}, {}, nullptr)}};
          }) {
        folded.fold();
        whole.emplace(AtlasRunner::onDevice(folded, true));
    }
    static Atlas make(const AtlasConfig& config, const at::Device& device) {
        StateDict weights = initialAtlasWeights(config, 1);
        for (auto& [name, tensor] : weights) tensor = tensor.to(device);
        return Atlas(config, weights);
    }
    Atlas unfolded, folded;
    PlainAtlas plain;
    DeviceGraph recorded;
    std::optional<AtlasRunner> whole;
};

void addNetworks(BenchmarkCases& cases, const at::Device& device, const std::string& label,
                 const AtlasConfig& config, const std::vector<std::pair<int64_t, int64_t>>& sizes) {
    const auto made = std::make_shared<std::shared_ptr<Networks>>();
    const auto get = [=] {
        if (!*made) *made = std::make_shared<Networks>(config, device);
        return *made;
    };
    const auto original = [device](const PlainAtlas& plain, const at::Tensor& x) {
        const Autocast autocast(true, device.type());
        plain.forward(x);
    };
    for (const auto& [side, batch] : sizes) {
        const std::string name =
            "atlas_" + label + "_bf16_" + std::to_string(side) + "_b" + std::to_string(batch);
        const AtlasCost cost = atlasCost(config, side);
        const double pixels = 12.0 * static_cast<double>(side * side * batch);
        cases.add(name, batch > 8, [=, side = side, batch = batch] {
            const auto n = get();
            const at::Tensor x = at::randn({batch, 3, side, side}).to(device);
            return BenchmarkCase{name,
                                 cost.total() * static_cast<double>(batch),
                                 pixels,
                                 [=] { n->recorded.run(x); },
                                 [=] { original(n->plain, x); },
                                 batch};
        });
        if (batch != 1) continue;
        const std::string whole = "whole_" + label + "_bf16_" + std::to_string(side);
        cases.add(whole, side > 4096, [=, side = side] {
            const auto n = get();
            const at::Tensor x = at::randn({1, 3, side, side});
            return BenchmarkCase{whole,
                                 cost.total(),
                                 pixels,
                                 [=] { n->whole->run(x, {}, {}); },
                                 [=] { original(n->plain, x.to(device)); },
                                 1};
        });
    }
}

}  // namespace

void addDeviceCases(BenchmarkCases& cases, const at::Device& device) {
    for (const int64_t size : {64, 32, 128}) {
        // A 4096 px image: 256 windows, 16 above them, 1 above those; and 32 of 1024 px.
        addAttention(cases, device, 256, 768 / size, size, {16, 256});
        addAttention(cases, device, 512, 768 / size, size, {16});
        addAttention(cases, device, 256, 768 / size, size, {});
    }
    addNetworks(cases, device, "base", baseConfig(),
                {{1024, 1}, {1024, 8}, {1024, 32}, {2048, 1}, {4096, 1}});
    addNetworks(cases, device, "scenes", scenesConfig(), {{1024, 1}, {1024, 32}});
}

}  // namespace atlas::engine
