// SPDX-License-Identifier: Apache-2.0
// libatlas_cuda, which speeds segmented attention up on a GPU. A machine without it, or a GPU on
// which it does not pass its self-test, goes on with LibTorch's operations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/kernels/cuda/atlas_cuda.h"
#include "engine/nn/msa_call.h"

namespace atlas::engine {

/// The operation by libatlas_cuda, where `q` is on a GPU, the plug-in is in use there and it is
/// faster than LibTorch (pluginIsFaster()); otherwise nothing. A call that fails gives nothing and
/// a notice. Thread-safe.
std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments);
std::optional<at::Tensor> receivedByPlugin(const at::Tensor& q, const KeySegment& segment,
                                           const at::Tensor& lse, const at::Tensor& validQuery);

/// One line for logs and the doctor page: is the plug-in in use on that GPU, and if not, why, and
/// what to do. The first call for a GPU runs the self-test there.
std::string cudaPluginStatus(const at::Device& device = at::Device(at::kCUDA, 0));

/// The functions of the library, or those of a test.
struct PluginFunctions {
    decltype(&atlas_cuda_version) version = nullptr;
    decltype(&atlas_cuda_report) report = nullptr;
    decltype(&atlas_cuda_msa_forward) forward = nullptr;
    decltype(&atlas_cuda_msa_received) received = nullptr;

    bool complete() const { return version && report && forward && received; }
};

/// The plug-in on the GPUs of the machine. Thread-safe.
class CudaPlugin {
  public:
    /// `found`: the library was loaded; else `openProblem` says why one that is there was not.
    /// `noGpu`: why LibTorch has no GPU; empty: it has.
    CudaPlugin(bool found, std::string openProblem, const PluginFunctions& functions,
               std::string noGpu);

    /// Looks at the GPU and tests the kernels there at the first call for it.
    bool usable(const at::Device& device);
    std::string status(const at::Device& device);

    /// The operations on a GPU, on the calling thread's stream of it, whatever the thread's own GPU
    /// is. A failure is remembered and told.
    MsaForwardCall forward(const at::Device& device);
    MsaReceivedCall received(const at::Device& device);

  private:
    struct Failures {
        int64_t count = 0;
        std::string last;
    };
    std::string problemOn(const at::Device& device);  ///< empty: none
    std::string lookAt(const at::Device& device);
    const char* told(const at::Device& device, const char* what, const char* cause);

    bool found_;
    std::string openProblem_;
    PluginFunctions functions_;
    std::string noGpu_;
    std::mutex testing_;                           // one self-test at a time
    std::map<std::string, std::string> problems_;  // by device
    std::mutex noting_;
    std::map<std::string, Failures> failures_;  // by device
};

}  // namespace atlas::engine
