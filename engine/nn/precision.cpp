// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/precision.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/machine.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {
namespace {

constexpr const char* kCacheFile = "precision.json";
constexpr size_t kMostTurns = 5;
constexpr double kEnoughSeconds = 2;  // of large networks one turn has to do

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
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string keyOf(const std::string& what) {
    return processorName() + ", " + cpuKernels().name + ", " +
           std::to_string(at::get_num_threads()) + " threads, " + TORCH_VERSION + ", " + what;
}

nlohmann::json readCache(const std::filesystem::path& path) {
    std::ifstream file(path);
    auto known = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    return known.is_object() ? known : nlohmann::json::object();
}

}  // namespace

bool gainsByBfloat16(const std::vector<double>& fp32, const std::vector<double>& bf16) {
    constexpr double kWorthRounding = 0.9;
    if (fp32.empty() || bf16.empty()) return false;
    return *std::min_element(bf16.begin(), bf16.end()) <
           kWorthRounding * *std::min_element(fp32.begin(), fp32.end());
}

std::optional<bool> rememberedFasterInBfloat16(const std::filesystem::path& cache,
                                               const std::string& what) {
    if (cache.empty()) return {};
    const auto known = readCache(cache / kCacheFile);
    const auto found = known.find(keyOf(what));
    if (found == known.end() || !found->is_boolean()) return {};
    return found->get<bool>();
}

bool fasterInBfloat16(const std::filesystem::path& cache, const std::string& what,
                      const std::function<void()>& fp32, const std::function<void()>& bf16) {
    if (const auto remembered = rememberedFasterInBfloat16(cache, what)) return *remembered;
    fp32();
    bf16();
    std::vector<double> plain, rounded;
    for (double seconds = 0; plain.size() < kMostTurns && seconds < kEnoughSeconds;) {
        plain.push_back(secondsOf(fp32));
        rounded.push_back(secondsOf(bf16));
        seconds += plain.back() + rounded.back();
    }
    const bool faster = gainsByBfloat16(plain, rounded);
    if (cache.empty()) return faster;
    auto known = readCache(cache / kCacheFile);
    known[keyOf(what)] = faster;
    std::error_code ignored;
    std::filesystem::create_directories(cache, ignored);
    const auto temporary = cache / (std::string(kCacheFile) + ".tmp");
    std::ofstream file(temporary);
    file << known.dump(1) << '\n';
    file.close();
    if (file) std::filesystem::rename(temporary, cache / kCacheFile, ignored);
    return faster;
}

std::string bfloat16Warning(bool tiles, const std::optional<bool>& measured) {
    if (measured.value_or(tiles)) return {};
    const std::string advice =
        "; leave --precision bf16 out, or say --precision auto, which takes the faster one";
    if (measured)
        return "bfloat16 was measured to be slower than float32 with this model here" + advice;
    return "this processor has no tiles for bfloat16 (AMX): --precision bf16 rounds the "
           "convolutions and is usually slower than float32" +
           advice;
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
