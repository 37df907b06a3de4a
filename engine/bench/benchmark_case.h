// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/bench/benchmark.h"
#include "engine/nn/atlas_config.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

/// One thing to compute, both ways.
struct BenchmarkCase {
    std::string name;
    double flops = 0;
    double bytes = 0;  ///< inputs, outputs and weights, each once
    std::function<void()> ours, plain;
    int64_t images = 0;  ///< of a call; 0: not a matter of images
    bool bf16 = false;   ///< on the processor: `ours` multiplies bfloat16
};

/// Cases by name, each made when its turn comes.
class BenchmarkCases {
  public:
    explicit BenchmarkCases(const BenchmarkOptions& options) : options_(options) {}

    void add(const std::string& name, bool large, std::function<BenchmarkCase()> make) {
        const bool asked =
            !options_.filter.empty() && name.find(options_.filter) != std::string::npos;
        if (asked || (options_.filter.empty() && (!large || options_.all)))
            list.push_back({name, std::move(make)});
    }
    std::vector<std::pair<std::string, std::function<BenchmarkCase()>>> list;

  private:
    const BenchmarkOptions& options_;
};

/// GFLOP/s of a large square matrix product there, in float32 on the processor and in bfloat16 on a
/// GPU, for about `seconds`.
double matrixPeak(double seconds, const at::Device& device);

/// {"float32": {"gflops", "instructions"}, "bfloat16": ...}: what the processor's multiply-add
/// units reach on all threads, whoever programs them; without those that it lacks.
nlohmann::json multiplyAddPeak(double seconds);

/// As a result of runBenchmarks().
nlohmann::json measureCase(const BenchmarkCase& c, double seconds, const at::Device& device);

AtlasConfig baseConfig();
AtlasConfig smallConfig();   ///< a quarter of base in width; the paper names none so small
AtlasConfig scenesConfig();  ///< the bundled model `scenes`

/// Attention and networks as a GPU runs them, in bfloat16.
void addDeviceCases(BenchmarkCases& cases, const at::Device& device);

}  // namespace atlas::engine
