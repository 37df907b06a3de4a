// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/precision.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/machine.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {
namespace {

double secondsOfConvolution(at::ScalarType type) {
    const auto options = at::TensorOptions().dtype(type);
    const at::Tensor image =
        at::ones({1, 32, 96, 96}, options).contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor kernel = at::ones({32, 32, 3, 3}, options);
    double best = 1e9;
    for (int attempt = 0; attempt < 3; ++attempt) {
        const auto start = std::chrono::steady_clock::now();
        at::conv2d(image, kernel, {}, 1, 1);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        best = std::min(best, passed.count());
        if (passed.count() > 0.5) break;
    }
    return best;
}

double secondsOf(const std::function<void()>& work) {
    work();
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

bool fasterInBfloat16(const std::filesystem::path& cache, const std::string& what,
                      const std::function<void()>& fp32, const std::function<void()>& bf16) {
    const std::string key = processorName() + ", " + cpuKernels().name + ", " +
                            std::to_string(at::get_num_threads()) + " threads, " + TORCH_VERSION +
                            ", " + what;
    const auto path = cache / "precision.json";
    nlohmann::json known;
    if (!cache.empty()) {
        std::ifstream file(path);
        known = nlohmann::json::parse(file, nullptr, false);
    }
    if (!known.is_object()) known = nlohmann::json::object();
    const auto found = known.find(key);
    if (found != known.end() && found->is_boolean()) return found->get<bool>();
    const bool faster = secondsOf(bf16) < 0.9 * secondsOf(fp32);
    if (cache.empty()) return faster;
    known[key] = faster;
    std::error_code ignored;
    std::filesystem::create_directories(cache, ignored);
    const auto temporary = cache / "precision.json.tmp";
    std::ofstream file(temporary);
    file << known.dump(1) << '\n';
    file.close();
    if (file) std::filesystem::rename(temporary, path, ignored);
    return faster;
}

bool useBfloat16(const std::string& choice) {
    if (choice != "auto") return choice == "bf16";
    static const bool faster = [] {
        const at::NoGradGuard noGradient;
        return secondsOfConvolution(at::kBFloat16) < 0.8 * secondsOfConvolution(at::kFloat);
    }();
    return faster;
}

}  // namespace atlas::engine
