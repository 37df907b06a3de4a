// SPDX-License-Identifier: Apache-2.0
#include "engine/bench/benchmark.h"

#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <torch/version.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/bench/benchmark_case.h"
#include "engine/bench/plain_atlas.h"
#include "engine/nn/atlas_cost.h"
#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/backbones/backbone.h"
#include "engine/nn/backbones/backbone_layers.h"
#include "engine/nn/block_runner.h"
#include "engine/nn/cpu_stem.h"
#include "engine/nn/device.h"
#include "engine/nn/machine.h"
#include "engine/nn/precision.h"
#include "io/numbers.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// A network both ways; made when its first case runs, shared by the others.
struct Networks {
    explicit Networks(const AtlasConfig& config)
        : unfolded(config, initialAtlasWeights(config, 1)),
          plain(unfolded),
          runner(folded(config)) {}

    static Atlas folded(const AtlasConfig& config) {
        Atlas network(config, initialAtlasWeights(config, 1));
        network.fold();
        return network;
    }
    /// In bfloat16, where it is asked for.
    const AtlasRunner& rounded() {
        if (!rounded_) rounded_.emplace(folded(unfolded.config()), true);
        return *rounded_;
    }
    const CpuStem& stem() {
        if (!stem_) stem_.emplace(folded(unfolded.config()).stem(), unfolded.config());
        return *stem_;
    }
    Atlas unfolded;
    PlainAtlas plain;
    AtlasRunner runner;

  private:
    std::optional<CpuStem> stem_;
    std::optional<AtlasRunner> rounded_;
};

void addNetwork(BenchmarkCases& cases, const std::string& label, const AtlasConfig& config,
                const std::vector<std::pair<int64_t, int64_t>>& sizes) {
    const bool bf16 = useBfloat16("auto");  // of no use on a processor without instructions for it
    const auto networks = std::make_shared<std::shared_ptr<Networks>>();
    const auto get = [networks, config] {
        if (!*networks) *networks = std::make_shared<Networks>(config);
        return *networks;
    };
    const auto weightBytes = [config] {
        double floats = 0;
        for (const auto& [name, t] : initialAtlasWeights(config, 1))
            floats += static_cast<double>(t.numel());
        return 4 * floats;
    };
    for (const auto& [side, batch] : sizes) {
        const std::string tail = "_" + std::to_string(side) + "_b" + std::to_string(batch);
        const bool large = static_cast<double>(side * side * batch) *
                               static_cast<double>(config.dim * config.dim) >
                           1e12;
        const AtlasCost cost = atlasCost(config, side);
        const auto images = static_cast<double>(batch);
        const auto pixelBytes = 12.0 * static_cast<double>(side * side) * images;
        const int64_t tokens = side / 16;
        const auto tokenBytes = 4.0 * static_cast<double>(tokens * tokens * config.dim) * images;
        cases.add("atlas_" + label + tail, large, [=, side = side, batch = batch] {
            const auto n = get();
            const at::Tensor x = at::randn({batch, 3, side, side});
            return BenchmarkCase{"atlas_" + label + tail, cost.total() * images,
                                 pixelBytes + weightBytes(), [=] { n->runner.run(x, {}, {}); },
                                 [=] { n->plain.forward(x); }};
        });
        if (batch != 1) continue;
        if (side == 1024 && bf16) {
            cases.add("atlas_" + label + "_bf16" + tail, true, [=, side = side] {
                const auto n = get();
                n->rounded();  // made before memory is counted
                const at::Tensor x = at::randn({1, 3, side, side});
                return BenchmarkCase{"atlas_" + label + "_bf16" + tail,
                                     cost.total(),
                                     pixelBytes + weightBytes(),
                                     [=] { n->rounded().run(x, {}, {}); },
                                     [=] {
                                         const Autocast autocast(true, at::kCPU);
                                         n->plain.forward(x);
                                     },
                                     0,
                                     true};
            });
            cases.add("atlas_" + label + "_blocks_bf16" + tail, true, [=] {
                const auto n = get();
                n->rounded();
                const at::Tensor x = at::randn({1, tokens, tokens, config.dim});
                return BenchmarkCase{"atlas_" + label + "_blocks_bf16" + tail,
                                     cost.blocks(),
                                     tokenBytes + weightBytes(),
                                     [=] { n->rounded().runTokens(x, {}, {}); },
                                     [=] {
                                         const Autocast autocast(true, at::kCPU);
                                         n->plain.blocks(x);
                                     },
                                     0,
                                     true};
            });
        }
        cases.add("atlas_" + label + "_blocks" + tail, large, [=] {
            const auto n = get();
            const at::Tensor x = at::randn({1, tokens, tokens, config.dim});
            return BenchmarkCase{
                "atlas_" + label + "_blocks" + tail, cost.blocks(), tokenBytes + weightBytes(),
                [=] { n->runner.runTokens(x, {}, {}); }, [=] { n->plain.blocks(x); }};
        });
        cases.add("atlas_" + label + "_stem" + tail, large, [=, side = side] {
            const auto n = get();
            const at::Tensor x = at::randn({1, 3, side, side});
            const CpuStem& stem = n->stem();  // packed before anything is measured
            return BenchmarkCase{"atlas_" + label + "_stem" + tail, cost.stem,
                                 pixelBytes + tokenBytes, [=, &stem] { stem.forward(x); },
                                 [=] { n->plain.stem(x); }};
        });
    }
}

void addOperations(BenchmarkCases& cases) {
    const auto& kernels = cpuKernels();
    for (const int64_t dim : {64, 192, 768}) {
        const int64_t rows = 4096, hidden = 4 * dim;
        const auto linear = [](int64_t in, int64_t out) {
            return Linear{at::randn({out, in}) / std::sqrt(static_cast<double>(in)),
                          at::randn({out})};
        };
        const auto norm = LayerNorm{at::ones({dim}), at::zeros({dim})};
        const auto name = [dim](const char* what) {
            return std::string(what) + "_c" + std::to_string(dim);
        };
        cases.add(name("projections"), false, [=, &kernels] {
            const Linear q = linear(dim, dim), kv = linear(dim, 2 * dim), out = linear(dim, dim);
            const at::Tensor x = at::randn({rows, dim});
            const auto packed = std::make_shared<std::array<PackedLinear, 3>>(std::array{
                PackedLinear::pack(q, &norm, kernels), PackedLinear::pack(kv, &norm, kernels),
                PackedLinear::pack(out, nullptr, kernels)});
            const at::Tensor a = at::empty({rows, dim}), b = at::empty({rows, 2 * dim});
            return BenchmarkCase{
                name("projections"), 8.0 * static_cast<double>(rows * dim * dim),
                4.0 * static_cast<double>(4 * dim * dim + 5 * rows * dim),
                [=, &kernels] {
                    const float* from = x.const_data_ptr<float>();
                    float* first = a.data_ptr<float>();
                    float* second = b.data_ptr<float>();
                    at::parallel_for(0, rows / 64, 1, [&](int64_t i, int64_t end) {
                        for (; i < end; ++i) {
                            const int64_t r = i * 64;
                            float* normed = threadScratch(64 * (dim + 16));
                            kernels.normalise(from + r * dim, dim, normed, dim + 16, 64,
                                              static_cast<int>(dim), 1e-5f);
                            (*packed)[0].apply(kernels, normed, dim + 16, first + r * dim, dim, 64);
                            (*packed)[1].apply(kernels, normed, dim + 16, second + r * 2 * dim,
                                               2 * dim, 64);
                            (*packed)[2].apply(kernels, first + r * dim, dim, normed, dim + 16, 64);
                            kernels.add(normed, dim + 16, from + r * dim, dim, first + r * dim, dim,
                                        64, dim);
                        }
                    });
                },
                [=] {
                    const at::Tensor query = q(norm(x));
                    kv(norm(x));
                    x + out(query);
                }};
        });
        cases.add(name("mlp"), false, [=, &kernels] {
            const Linear fc1 = linear(dim, hidden), fc2 = linear(hidden, dim);
            const at::Tensor x = at::randn({rows, dim}), y = at::empty({rows, dim});
            const auto packed = std::make_shared<std::array<PackedLinear, 2>>(
                std::array{PackedLinear::pack(fc1, &norm, kernels),
                           PackedLinear::pack(fc2, nullptr, kernels)});
            return BenchmarkCase{
                name("mlp"), 4.0 * static_cast<double>(rows * dim * hidden),
                4.0 * static_cast<double>(2 * dim * hidden + 2 * rows * dim),
                [=, &kernels] {
                    const float* from = x.const_data_ptr<float>();
                    float* to = y.data_ptr<float>();
                    at::parallel_for(0, rows / 64, 1, [&](int64_t i, int64_t end) {
                        for (; i < end; ++i) {
                            const int64_t r = i * 64, wide = dim + 16, wider = hidden + 16;
                            float* normed = threadScratch(64 * (wide + wider));
                            float* inner = normed + 64 * wide;
                            kernels.normalise(from + r * dim, dim, normed, wide, 64,
                                              static_cast<int>(dim), 1e-5f);
                            (*packed)[0].apply(kernels, normed, wide, inner, wider, 64,
                                               Activation::Gelu);
                            (*packed)[1].apply(kernels, inner, wider, normed, wide, 64);
                            kernels.add(normed, wide, from + r * dim, dim, to + r * dim, dim, 64,
                                        dim);
                        }
                    });
                },
                [=] { x + fc2(at::gelu(fc1(norm(x)))); }};
        });
    }
    for (const int64_t size : {32, 64})
        for (const int64_t keys : {256, 512, 768, 1024}) {
            const std::string name =
                "msa_q256_k" + std::to_string(keys) + "_d" + std::to_string(size);
            cases.add(name, false, [=, &kernels] {
                // 64 windows, 4 heads; all windows share the coarse keys.
                const int64_t windows = 64, heads = 4, width = heads * size;
                const at::Tensor q = at::randn({windows, 256, width}),
                                 own = at::randn({windows, 256, 2 * width});
                std::vector<at::Tensor> coarse;
                for (int64_t k = 256; k < keys; k += 256)
                    coarse.push_back(at::randn({1, 256, 2 * width}));
                const at::Tensor out = at::empty_like(q);
                const auto split = [=](const at::Tensor& x) {
                    return x.reshape({windows, x.size(1), heads, size}).transpose(1, 2);
                };
                return BenchmarkCase{
                    name, 4.0 * static_cast<double>(windows * 256 * keys * width),
                    4.0 * static_cast<double>(windows * 256 * 4 * width + (keys - 256) * 2 * width),
                    [=, &kernels] {
                        at::parallel_for(0, windows * heads, 1, [&](int64_t i, int64_t end) {
                            for (; i < end; ++i) {
                                const int64_t w = i / heads, h = i % heads * size;
                                AttentionTask t;
                                t.q = q.const_data_ptr<float>() + w * 256 * width + h;
                                t.out = out.data_ptr<float>() + w * 256 * width + h;
                                t.queryStride = t.outStride = width;
                                t.queries = 256;
                                t.headSize = static_cast<int>(size);
                                t.scale = 1 / std::sqrt(static_cast<float>(size));
                                const float* kv = own.const_data_ptr<float>() + w * 512 * width + h;
                                t.segment[t.segments++] = {kv, kv + width, 2 * width, 256, nullptr};
                                for (const auto& c : coarse) {
                                    const float* up = c.const_data_ptr<float>() + h;
                                    t.segment[t.segments++] = {up, up + width, 2 * width, 256,
                                                               nullptr};
                                }
                                t.scratch = threadScratch(attentionScratch(t));
                                kernels.attention(t);
                            }
                        });
                    },
                    [=] {
                        std::vector<at::Tensor> all{own};
                        for (const auto& c : coarse) all.push_back(c.repeat({windows, 1, 1}));
                        const at::Tensor kv = at::cat(all, 1);
                        plainAttention(split(q), split(kv.slice(2, 0, width)),
                                       split(kv.slice(2, width)))
                            .transpose(1, 2)
                            .reshape({windows, 256, width});
                    }};
            });
        }
}

/// The sister networks against the same in the manner of their originals (PlainAttention).
void addBackbones(BenchmarkCases& cases) {
    for (const auto& [architecture, variant, multiple] : {std::tuple{"vil", "vil_small", 32},
                                                          {"halonet", "halonet50ts", 256},
                                                          {"scalablevit", "scalablevit_s", 224}})
        for (const int64_t px : {512, 1024}) {
            const std::string kind = architecture, name = variant;
            const int64_t side = px / multiple * multiple;
            const std::string title = name + "_" + std::to_string(side) + "_b1";
            cases.add(title, false, [=] {
                const json config{{"variant", name}};
                StateDict weights;
                for (const auto& [key, shape] : Backbone::weightsOf(kind, config))
                    weights[key] =
                        key.ends_with("running_var") ? at::ones(shape) : at::randn(shape) * 0.02;
                const std::shared_ptr<Backbone> network = Backbone::make(kind, config, weights);
                const PlainAttention asOriginal;
                const std::shared_ptr<Backbone> plain = Backbone::make(kind, config, weights);
                const at::Tensor image = at::randn({1, 3, side, side});
                return BenchmarkCase{title, 0, 0, [=] { network->forward(image); },
                                     [=] {
                                         const PlainAttention attention;
                                         plain->forward(image);
                                     }};
            });
        }
}

void addProcessorCases(BenchmarkCases& cases) {
    addOperations(cases);
    const std::vector<std::pair<int64_t, int64_t>> sizes{{256, 1}, {512, 1}, {1024, 1}, {2048, 1},
                                                         {256, 8}, {512, 8}, {1024, 8}, {2048, 8}};
    addNetwork(cases, "base", baseConfig(), sizes);
    addNetwork(cases, "small", smallConfig(), sizes);
    addNetwork(cases, "scenes", scenesConfig(), {{1024, 1}, {1024, 8}});
    addBackbones(cases);
}

}  // namespace

json runBenchmarks(const BenchmarkOptions& options,
                   const std::function<void(const json&)>& report) {
    const at::NoGradGuard noGradient;
    if (options.threads > 0) at::set_num_threads(options.threads);
    const DeviceChoice where = chooseDevice(options.device);
    BenchmarkCases cases(options);
    if (!where.ownKernels) addDeviceCases(cases, where.device);
    if (where.ownKernels) addProcessorCases(cases);
    json results = json::array();
    for (const auto& [name, make] : cases.list) {
        results.push_back(measureCase(make(), options.seconds, where.device));
        if (report) report(results.back());
    }
    return {{"machine",
             {{"processor", processorName()},
              {"threads", at::get_num_threads()},
              {"kernels", cpuKernels().name},
              {"libtorch", TORCH_VERSION},
              {"device", where.reason},
              {"multiply_add", where.device.is_cpu() ? multiplyAddPeak(0.25) : json::object()},
              {"matmul_gflops", matrixPeak(0.25, where.device)}}},
            {"results", results}};
}

std::string benchmarkLine(const json& r) {
    if (r.is_null())
        return io::formatText("%-28s %9s %9s %6s %8s %6s %7s %9s %9s", "name", "ours s", "plain s",
                              "ratio", "GFLOP/s", "peak", "matmul", "MiB", "plain MiB");
    const auto percent = [&](const char* key) {
        return r.at(key).is_null() ? std::string("-")
                                   : io::formatFixed(100 * r.at(key).get<double>(), 0) + "%";
    };
    return io::formatText("%-28s %9.4f %9.4f %6.2f %8.1f %6s %7s %9.1f %9.1f",
                          r.at("name").get<std::string>().c_str(), r.at("ours_s").get<double>(),
                          r.at("plain_s").get<double>(), r.at("ratio").get<double>(),
                          r.at("gflops").get<double>(), percent("peak_share").c_str(),
                          percent("matmul_share").c_str(),
                          r.at("peak_bytes").get<double>() / 1048576,
                          r.at("plain_peak_bytes").get<double>() / 1048576);
}

std::string benchmarkFooter(const json& machine) {
    std::string text = "peak: share of the processor's multiply-add peak";
    if (machine.at("multiply_add").empty()) text += " (not measured on this device)";
    const char* before = ", ";
    for (const auto& [type, peak] : machine.at("multiply_add").items()) {
        text += before + io::formatFixed(peak.at("gflops").get<double>(), 0) + " GFLOP/s in " +
                type + " (" + peak.at("instructions").get<std::string>() + ")";
        before = " and ";
    }
    return text + "; matmul: share of LibTorch's matrix product, " +
           io::formatFixed(machine.at("matmul_gflops").get<double>(), 0) + " GFLOP/s (" +
           machine.at("processor").get<std::string>() + ", " +
           std::to_string(machine.at("threads").get<int>()) +
           " threads). Winograd convolutions need fewer multiplications than are counted and can "
           "pass 100 %.";
}

std::string compareBenchmarks(const json& before, const json& now) {
    std::string text;
    for (const auto& r : now.at("results"))
        for (const auto& old : before.at("results")) {
            if (old.at("name") != r.at("name")) continue;
            // The plain path is the same code in both: it says what the machine did meanwhile.
            const double ours = r.at("ours_s").get<double>() / old.at("ours_s").get<double>();
            const double plain = r.at("plain_s").get<double>() / old.at("plain_s").get<double>();
            text += io::formatText("%-28s ours %+.1f %%, plain %+.1f %%, ratio %.2f -> %.2f\n",
                                   r.at("name").get<std::string>().c_str(), 100 * (ours - 1),
                                   100 * (plain - 1), old.at("ratio").get<double>(),
                                   r.at("ratio").get<double>());
        }
    return text.empty() ? "no case is in both files\n" : text;
}

}  // namespace atlas::engine
