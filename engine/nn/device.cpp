// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include "engine/nn/cuda_plugin.h"
#include "engine/nn/model_error.h"
#include "engine/nn/notice.h"

namespace atlas::engine {
namespace {

at::Device gpuDevice(int64_t index) {
    return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

std::string gpuName(int64_t index) {
    return "GPU " + std::to_string(index);
}

/// A little arithmetic: a LibTorch without kernels for this GPU shows it all the same.
std::string attemptOn(int64_t index) try {
    const at::NoGradGuard noGradient;
    const at::Tensor x =
        at::ones({1024}, at::TensorOptions().dtype(at::kFloat).device(gpuDevice(index)));
    return (x + x).sum().item<float>() == 2048 ? "" : "it adds wrongly";
} catch (const std::exception& error) {
    return error.what();
}

GpuMachine thisMachine() {
    return {gpuFacts, attemptOn, [](int64_t index) { return cudaPluginStatus(gpuDevice(index)); }};
}

DeviceChoice gpu(int64_t index, const GpuMachine& machine) {
    at::globalContext().setAllowTF32CuDNN(false);  // fp32 is float32; bf16 is there for speed
    return {gpuDevice(index), gpuName(index) + " (" + machine.plugin(index) + ")", false};
}

/// Why GPU `index` cannot be used; empty: it can.
std::string problemOf(int64_t index, const GpuMachine& machine) {
    const std::string error = machine.attempt(index);
    if (error.empty()) return {};
    const std::string problem = whyGpuFails(gpuName(index), error);
    notice(problem);
    return problem;
}

DeviceChoice automatic(const GpuMachine& machine) {
    const GpuFacts facts = machine.facts();
    std::string cause = whyNoGpu(facts);
    for (int64_t index = 0; index < facts.torchDevices; ++index) {
        const std::string problem = problemOf(index, machine);
        if (problem.empty()) return gpu(index, machine);
        cause += (cause.empty() ? "" : "; ") + problem;
    }
    return {at::Device(at::kCPU), "CPU (" + cause + ")"};
}

}  // namespace

DeviceChoice chooseDevice(const std::string& request) {
    return chooseDevice(request, thisMachine());
}

DeviceChoice chooseDevice(const std::string& request, const GpuMachine& machine) {
    if (request == "cpu") return {at::Device(at::kCPU), "CPU (as asked)"};
    if (request == "cpu:libtorch")
        return {at::Device(at::kCPU), "CPU by LibTorch's operations (as asked)", false};
    if (request == "auto" || request.empty()) return automatic(machine);
    if (request != "cuda" && request.rfind("cuda:", 0) != 0)
        throw ModelError("device \"" + request +
                         "\" is unknown: use auto, cpu, cuda, cuda:N or cpu:libtorch");
    int64_t index = 0;
    if (request.size() > 4) {
        const std::string digits = request.substr(5);
        if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos ||
            digits.size() > 3)
            throw ModelError("device \"" + request + "\": the number of the GPU is not a number");
        index = std::stol(digits);
    }
    const GpuFacts facts = machine.facts();
    const std::string refused = "device " + request + " cannot be used: ";
    if (const std::string cause = whyNoGpu(facts); !cause.empty())
        throw ModelError(refused + cause);
    if (index >= facts.torchDevices)
        throw ModelError(refused + (facts.torchDevices == 1
                                        ? "there is one GPU, which is cuda:0"
                                        : "there are " + std::to_string(facts.torchDevices) +
                                              " GPUs, numbered from 0"));
    if (const std::string cause = problemOf(index, machine); !cause.empty())
        throw ModelError(refused + cause);
    return gpu(index, machine);
}

int64_t freeMemory(const at::Device& device) {
    constexpr double kShareOfFree = 0.9;  // the rest is for the library
    constexpr int64_t kPlenty = int64_t{1} << 50;
    if (!at::accelerator::isAccelerator(device.type())) return kPlenty;
    const auto index = device.has_index() ? device.index() : c10::DeviceIndex{0};
    return static_cast<int64_t>(kShareOfFree *
                                static_cast<double>(at::accelerator::getMemoryInfo(index).first));
}

}  // namespace atlas::engine
