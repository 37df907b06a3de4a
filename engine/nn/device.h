// SPDX-License-Identifier: Apache-2.0
// Where the network runs.
#pragma once

#include <string>

#include "engine/nn/tensor.h"

namespace atlas::engine {

struct DeviceChoice {
    at::Device device{at::kCPU};
    std::string reason;      ///< one line: what was chosen and, for the processor, why not a GPU
    bool ownKernels = true;  ///< the processor's path of this program, not LibTorch's operations
};

/// `request`: auto, cpu, cuda, cuda:N or cpu:libtorch (what a GPU does, by the processor: slow, for
/// comparison). `auto` never fails; the others throw ModelError with the cause when they cannot be
/// had.
DeviceChoice chooseDevice(const std::string& request);

/// Bytes of the device's memory that may be taken now; of the processor's: more than there are.
int64_t freeMemory(const at::Device& device);

}  // namespace atlas::engine
