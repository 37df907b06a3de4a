// SPDX-License-Identifier: Apache-2.0
// The CUDA plug-in: segmented attention with a C interface, no LibTorch inside.
//
// Idea: one thread a query row; the arithmetic is msaForwardRow of msa.h, the code that the host
// tests run. Memory plan: nothing is staged, keys come through the caches; neighbouring threads
// share a window and a head, so they read the same keys. Plain and correct; a tiled tensor-core
// kernel takes its place later. Limits: float32, head size up to kAtlasMsaMaxHeadDim.
#include <cuda_runtime.h>

#include "engine/kernels/cuda/atlas_cuda.h"

namespace {

constexpr int kThreads = 128;

__global__ void msaForwardKernel(AtlasMsaProblem problem) {
    const int64_t rows = problem.queryWindows * problem.heads * problem.queriesPerWindow;
    for (int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; row < rows;
         row += static_cast<int64_t>(gridDim.x) * blockDim.x)
        atlas::engine::msaForwardRow(problem, row);
}

}  // namespace

extern "C" int atlas_cuda_version(void) {
    return kAtlasMsaVersion;
}

extern "C" int atlas_cuda_device_count(void) {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

extern "C" const char* atlas_cuda_msa_forward(const AtlasMsaProblem* problem, void* stream) {
    if (const char* cause = atlas::engine::msaCheck(*problem)) return cause;
    const int64_t rows = problem->queryWindows * problem->heads * problem->queriesPerWindow;
    if (rows == 0) return nullptr;
    const int64_t blocks = (rows + kThreads - 1) / kThreads;
    const auto grid = static_cast<unsigned>(blocks < 1048576 ? blocks : 1048576);
    msaForwardKernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(*problem);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
