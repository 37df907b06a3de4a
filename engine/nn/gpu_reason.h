// SPDX-License-Identifier: Apache-2.0
// Why a GPU, or the plug-in on it, is not used, and what a person can do about it. The decisions
// are functions of plain facts, so that tests need no GPU.
#pragma once

#include <cstdint>
#include <string>

#include "engine/kernels/cuda/atlas_cuda.h"

namespace atlas::engine {

enum class GpuProblem { None, NoGpu, NoDriver, OldDriver, MixedDriver, NoKernelImage, Other };

/// From an error number of CUDA's runtime or driver (they share these). `driverCuda`: the newest
/// CUDA that the driver knows, e.g. 12040; 0: there is none.
GpuProblem gpuProblemOf(int error, int driverCuda);

/// "12.4" of 12040.
std::string cudaVersionText(int64_t version);

/// What is known of the machine and of this LibTorch.
struct GpuFacts {
    int64_t torchDevices = 0;  ///< GPUs that LibTorch shows
    int64_t torchCuda = 0;     ///< CUDA that LibTorch was built with; 0: none
    bool hardware = false;     ///< an NVIDIA GPU is on the bus
    int driverCuda = 0;        ///< newest CUDA that the driver knows; 0: there is no driver
    int driverError = 0;       ///< of cuInit
    std::string driverText{};  ///< what the driver says of it
};

/// Asks the driver only where LibTorch, built with CUDA, shows no GPU.
GpuFacts gpuFacts();

/// Why LibTorch has no GPU, and what to do; empty: it has.
std::string whyNoGpu(const GpuFacts& facts);

/// The same of one GPU that LibTorch shows, on which an operation ended with `error` (its own
/// text).
std::string whyGpuFails(const std::string& gpu, const std::string& error);

/// What is known of the plug-in on one GPU.
struct PluginFacts {
    bool found = false;
    std::string openProblem;  ///< why a library that is there cannot be loaded
    bool complete = true;     ///< it has every function
    int version = kAtlasMsaVersion;
    std::string noGpu;  ///< of whyNoGpu()
    AtlasCudaReport report{};
    std::string failed;  ///< why a call of the self-test failed
    std::string wrong;   ///< what the self-test found
};

/// Why the plug-in is not used, and what to do; empty: it is.
std::string whyNoPlugin(const PluginFacts& facts);

}  // namespace atlas::engine
