// SPDX-License-Identifier: Apache-2.0
// Where the network runs.
#pragma once

#include <functional>
#include <string>

#include "engine/nn/gpu_reason.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

struct DeviceChoice {
    at::Device device{at::kCPU};
    std::string reason;      ///< one line: what was chosen and, for the processor, why not a GPU
    bool ownKernels = true;  ///< the processor's path of this program, not LibTorch's operations
};

/// The GPUs of a machine, as far as a choice needs to know them.
struct GpuMachine {
    std::function<GpuFacts()> facts;
    /// Works on GPU `index`; what that ended with, empty: it went well.
    std::function<std::string(int64_t index)> attempt;
    std::function<std::string(int64_t index)> plugin;  ///< the plug-in's state there, in words
};

/// `request`: auto, cpu, cuda, cuda:N or cpu:libtorch (what a GPU does, by the processor: slow, for
/// comparison). `auto` takes the first GPU that works and never fails; the others throw ModelError
/// with the cause and what to do when they cannot be had.
DeviceChoice chooseDevice(const std::string& request);
/// The same on a machine that a test made up.
DeviceChoice chooseDevice(const std::string& request, const GpuMachine& machine);

/// Bytes of the device's memory that may be taken now; of the processor's: more than there are.
int64_t freeMemory(const at::Device& device);

}  // namespace atlas::engine
