// SPDX-License-Identifier: Apache-2.0
// Where the network runs.
#pragma once

#include <string>

#include "engine/nn/tensor.h"

namespace atlas::engine {

struct DeviceChoice {
    at::Device device{at::kCPU};
    std::string reason;  ///< one line: what was chosen and, for the processor, why not a GPU
};

/// `request`: auto, cpu, cuda or cuda:N. `auto` never fails; the others throw ModelError with the
/// cause when they cannot be had.
DeviceChoice chooseDevice(const std::string& request);

}  // namespace atlas::engine
