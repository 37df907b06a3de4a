// SPDX-License-Identifier: Apache-2.0
// Which attention the CUDA plug-in does: what it gets right on the GPU at hand, and what it is
// faster at than LibTorch.
#pragma once

#include <string>

#include "engine/nn/msa_call.h"

namespace atlas::engine {

/// One question of the self-test: windows of `rows` tokens, `headDim` channels a head.
struct PluginCase {
    at::ScalarType type;
    int64_t headDim, rows;
    std::string name() const;
};

/// Every kernel once: each head size of the tensor cores with blocks of 16, 64 and 128 rows in
/// bfloat16 and float16; and float32 row by row.
std::vector<PluginCase> pluginCases();

/// What is wrong on `device`, against LibTorch on the processor, with the output, the
/// log-sum-exp, the mass of each segment and received attention; empty: nothing. Throws what a
/// device throws.
std::string wrongOfPlugin(const PluginCase& asked, const MsaForwardCall& forward,
                          const MsaReceivedCall& received, const at::Device& device);

/// All cases; what is wrong with the first that is.
std::string pluginSelfTest(const MsaForwardCall& forward, const MsaReceivedCall& received,
                           const at::Device& device);

/// What is asked of segmentedAttention().
struct AttentionWork {
    at::ScalarType type = at::kFloat;
    int64_t headDim = 0, windows = 0, heads = 0, queries = 0;
    std::vector<int64_t> keys;  ///< of a window, of each segment

    static AttentionWork of(const at::Tensor& q, const std::vector<KeySegment>& segments);
};

/// The kernels of the tensor cores always are. 16-bit numbers of other head sizes go to LibTorch's
/// flash kernel. float32 goes row by row, a thread each, only where its one launch is estimated to
/// take less than the launches, products and logits of LibTorch. A rule and no measurement, since
/// the same input has to give the same bytes in every run.
bool pluginIsFaster(const AttentionWork& work);

}  // namespace atlas::engine
