// SPDX-License-Identifier: Apache-2.0
// Where the network runs, and the CUDA plug-in that speeds its attention up there.
#pragma once

#include <optional>
#include <string>

#include "engine/nn/tensor.h"

namespace atlas::engine {

struct KeySegment;
struct SegmentedAttention;

struct DeviceChoice {
    at::Device device{at::kCPU};
    std::string reason;  ///< one line: what was chosen and, for the processor, why not a GPU
};

/// `request`: auto, cpu, cuda or cuda:N. `auto` never fails; the others throw ModelError with the
/// cause when they cannot be had.
DeviceChoice chooseDevice(const std::string& request);

/// The operation by libatlas_cuda, if `q` is on a GPU and the plug-in loads, has our version and
/// has passed its self-test; otherwise nothing. Thread-safe.
std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments);

/// One line for logs and the doctor page: plug-in state, and the cause if it is not used.
std::string cudaPluginStatus();

}  // namespace atlas::engine
