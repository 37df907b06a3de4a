// SPDX-License-Identifier: Apache-2.0
// libatlas_cuda, which speeds segmented attention up on a GPU, and the way from tensors to its C
// interface (which the host's operations in engine/kernels share, so that tests can take it).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/kernels/msa.h"
#include "engine/nn/segmented_attention.h"

namespace atlas::engine {

/// The operation by libatlas_cuda, if `q` is on a GPU and the plug-in loads, has our version and
/// has passed its self-test; otherwise nothing. Thread-safe.
std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments);
std::optional<at::Tensor> receivedByPlugin(const at::Tensor& q, const KeySegment& segment,
                                           const at::Tensor& lse, const at::Tensor& validQuery);

/// One line for logs and the doctor page: plug-in state, and the cause if it is not used.
std::string cudaPluginStatus();

/// Each returns nullptr or a cause.
using MsaForwardCall = std::function<const char*(const AtlasMsaProblem&)>;
using MsaReceivedCall = std::function<const char*(const AtlasMsaProblem&, const AtlasMsaReceived&)>;

/// segmentedAttention() by `call`, on q's device; nothing where it fails. Tensors whose channels
/// are dense are taken as they lie, 16-bit types too; other types go through float32.
std::optional<SegmentedAttention> segmentedAttentionBy(const MsaForwardCall& call,
                                                       const at::Tensor& q,
                                                       const std::vector<KeySegment>& segments);
/// receivedByKeys() likewise; 16-bit types alone.
std::optional<at::Tensor> receivedBy(const MsaReceivedCall& call, const at::Tensor& q,
                                     const KeySegment& segment, const at::Tensor& lse,
                                     const at::Tensor& validQuery);

}  // namespace atlas::engine
