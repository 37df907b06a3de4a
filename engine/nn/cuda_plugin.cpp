// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/cuda_plugin.h"

#include <c10/core/DeviceGuard.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "engine/nn/device_stream.h"
#include "engine/nn/gpu_reason.h"
#include "engine/nn/notice.h"
#include "engine/nn/plugin_check.h"
#include "engine/nn/shared_library.h"

namespace atlas::engine {
namespace {

/// A cudaStream_t; of the processor, with which tests stand in for a GPU, none.
void* streamOf(const at::Device& device) {
    return device.is_cpu() ? nullptr : currentStream(device).native_handle();
}

std::unique_ptr<CudaPlugin> load() {
    std::vector<std::filesystem::path> places;
    if (const char* given = std::getenv("ATLASSCOPE_CUDA_PLUGIN")) places.emplace_back(given);
    for (const auto& folder : programFolders()) places.push_back(folder / "libatlas_cuda.so");
    std::string problem;
    void* library = openLibrary(places, problem);
    PluginFunctions functions;
    if (library) {
        functions.version = symbolOf<decltype(functions.version)>(library, "atlas_cuda_version");
        functions.report = symbolOf<decltype(functions.report)>(library, "atlas_cuda_report");
        functions.forward =
            symbolOf<decltype(functions.forward)>(library, "atlas_cuda_msa_forward");
        functions.received =
            symbolOf<decltype(functions.received)>(library, "atlas_cuda_msa_received");
    }
    return std::make_unique<CudaPlugin>(library != nullptr, problem, functions,
                                        whyNoGpu(gpuFacts()));
}

/// Opened once and never destroyed: other threads may use it while the program ends.
CudaPlugin& plugin() {
    static CudaPlugin& loaded = *load().release();
    return loaded;
}

bool isForPlugin(const at::Tensor& q) {
    return q.is_cuda() && !at::GradMode::is_enabled() && plugin().usable(q.device());
}

}  // namespace

CudaPlugin::CudaPlugin(bool found, std::string openProblem, const PluginFunctions& functions,
                       std::string noGpu)
    : found_(found),
      openProblem_(std::move(openProblem)),
      functions_(functions),
      noGpu_(std::move(noGpu)) {}

bool CudaPlugin::usable(const at::Device& device) {
    return problemOn(device).empty();
}

std::string CudaPlugin::status(const at::Device& device) {
    const std::string problem = problemOn(device);
    if (!problem.empty()) return "CUDA plug-in not used: " + problem;
    const std::lock_guard lock(noting_);
    const auto failed = failures_.find(device.str());
    if (failed == failures_.end()) return "CUDA plug-in in use";
    return "CUDA plug-in in use, but " + std::to_string(failed->second.count) +
           " of its calls failed, the last with " + failed->second.last;
}

std::string CudaPlugin::problemOn(const at::Device& device) {
    const std::lock_guard lock(testing_);
    const auto [entry, isNew] = problems_.try_emplace(device.str());
    if (isNew) {
        entry->second = lookAt(device);
        if (!entry->second.empty() && found_ && noGpu_.empty())
            notice("the CUDA plug-in is not used on " + device.str() + ": " + entry->second);
    }
    return entry->second;
}

std::string CudaPlugin::lookAt(const at::Device& device) {
    PluginFacts facts;
    facts.found = found_;
    facts.openProblem = openProblem_;
    facts.complete = functions_.complete();
    facts.noGpu = noGpu_;
    if (found_ && facts.complete) facts.version = functions_.version();
    if (std::string problem = whyNoPlugin(facts); !problem.empty()) return problem;
    functions_.report(device.index(), &facts.report);
    if (std::string problem = whyNoPlugin(facts); !problem.empty()) return problem;
    try {
        facts.wrong = pluginSelfTest(forward(device), received(device), device);
    } catch (const std::exception& error) {
        facts.failed = error.what();
    }
    const std::lock_guard lock(noting_);
    if (const auto failed = failures_.find(device.str()); failed != failures_.end())
        facts.failed = failed->second.last;
    return whyNoPlugin(facts);
}

/// Passes `cause` on.
const char* CudaPlugin::told(const at::Device& device, const char* what, const char* cause) {
    if (!cause) return nullptr;
    {
        const std::lock_guard lock(noting_);
        Failures& failures = failures_[device.str()];
        ++failures.count;
        failures.last = cause;
    }
    notice(std::string("the CUDA plug-in's ") + what + " failed on " + device.str() + ": " + cause +
           "; LibTorch's operation does its work");
    return cause;
}

MsaForwardCall CudaPlugin::forward(const at::Device& device) {
    return [this, device](const AtlasMsaProblem& problem) {
        const c10::DeviceGuard on(device);
        return told(device, "attention",
                    functions_.forward(&problem, device.index(), streamOf(device)));
    };
}

MsaReceivedCall CudaPlugin::received(const at::Device& device) {
    return [this, device](const AtlasMsaProblem& problem, const AtlasMsaReceived& request) {
        const c10::DeviceGuard on(device);
        return told(device, "received attention",
                    functions_.received(&problem, &request, device.index(), streamOf(device)));
    };
}

std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments) {
    if (!isForPlugin(q) || !pluginIsFaster(AttentionWork::of(q, segments))) return std::nullopt;
    return segmentedAttentionBy(plugin().forward(q.device()), q, segments);
}

std::optional<at::Tensor> receivedByPlugin(const at::Tensor& q, const KeySegment& segment,
                                           const at::Tensor& lse, const at::Tensor& validQuery) {
    if (!isForPlugin(q)) return std::nullopt;
    return receivedBy(plugin().received(q.device()), q, segment, lse, validQuery);
}

std::string cudaPluginStatus(const at::Device& device) {
    return plugin().status(device);
}

}  // namespace atlas::engine
