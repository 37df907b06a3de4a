// SPDX-License-Identifier: Apache-2.0
// From tensors to the C interface of segmented attention (engine/kernels/msa.h), which the CUDA
// plug-in and the host's operations of engine/kernels share.
#pragma once

#include <functional>
#include <optional>

#include "engine/kernels/msa.h"
#include "engine/nn/segmented_attention.h"

namespace atlas::engine {

/// Each returns nullptr or a cause.
using MsaForwardCall = std::function<const char*(const AtlasMsaProblem&)>;
using MsaReceivedCall = std::function<const char*(const AtlasMsaProblem&, const AtlasMsaReceived&)>;

/// segmentedAttention() by `call`, on q's device; nothing where it fails or the interface cannot
/// express it. Tensors whose channels are dense are taken as they lie, 16-bit types too; other
/// types go through float32.
std::optional<SegmentedAttention> segmentedAttentionBy(const MsaForwardCall& call,
                                                       const at::Tensor& q,
                                                       const std::vector<KeySegment>& segments);
/// receivedByKeys() likewise; 16-bit types alone.
std::optional<at::Tensor> receivedBy(const MsaReceivedCall& call, const at::Tensor& q,
                                     const KeySegment& segment, const at::Tensor& lse,
                                     const at::Tensor& validQuery);

}  // namespace atlas::engine
