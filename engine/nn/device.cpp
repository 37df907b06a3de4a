// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include "engine/nn/cuda_plugin.h"
#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

int64_t cudaDevices(std::string& cause) {
    if (!at::globalContext().hasCUDA()) {
        cause = "this LibTorch has no CUDA, or there is no NVIDIA driver or GPU";
        return 0;
    }
    const auto count = static_cast<int64_t>(at::accelerator::deviceCount());
    if (count == 0) cause = "no NVIDIA GPU was found";
    return count;
}

DeviceChoice gpu(int64_t index) {
    at::globalContext().setAllowTF32CuDNN(false);  // fp32 is float32; bf16 is there for speed
    return {at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index)),
            "GPU " + std::to_string(index) + " (" + cudaPluginStatus() + ")", false};
}

}  // namespace

DeviceChoice chooseDevice(const std::string& request) {
    if (request == "cpu") return {at::Device(at::kCPU), "CPU (as asked)"};
    if (request == "cpu:libtorch")
        return {at::Device(at::kCPU), "CPU by LibTorch's operations (as asked)", false};
    std::string cause;
    if (request == "auto" || request.empty()) {
        if (cudaDevices(cause) > 0) return gpu(0);
        return {at::Device(at::kCPU), "CPU (" + cause + ")"};
    }
    if (request != "cuda" && request.rfind("cuda:", 0) != 0)
        throw ModelError("device \"" + request +
                         "\" is unknown: use auto, cpu, cuda, cuda:N or cpu:libtorch");
    int64_t index = 0;
    if (request.size() > 5) {
        const std::string digits = request.substr(5);
        if (digits.find_first_not_of("0123456789") != std::string::npos || digits.size() > 3)
            throw ModelError("device \"" + request + "\": the number of the GPU is not a number");
        index = std::stol(digits);
    }
    const int64_t count = cudaDevices(cause);
    if (count == 0) throw ModelError("device " + request + " cannot be used: " + cause);
    if (index >= count)
        throw ModelError("device " + request + " cannot be used: there are " +
                         std::to_string(count) + " GPUs, numbered from 0");
    return gpu(index);
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
