// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/precision.h"

#include <chrono>

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

}  // namespace

bool useBfloat16(const std::string& choice) {
    if (choice != "auto") return choice == "bf16";
    static const bool faster = [] {
        const at::NoGradGuard noGradient;
        return secondsOfConvolution(at::kBFloat16) < 0.8 * secondsOfConvolution(at::kFloat);
    }();
    return faster;
}

}  // namespace atlas::engine
