// SPDX-License-Identifier: Apache-2.0
// The CUDA plug-in: segmented attention with a C interface, no LibTorch inside.
//
// 16-bit elements: one thread block for each (query block, head, window), the program of
// msa_block.h on tensor cores. Neighbouring blocks are those of one window and head, then of one
// window, so that coarse keys shared by many windows stay in the L2 cache. Float32: one thread a
// query row, msaForwardRow; exact rather than fast.
#include <cuda_runtime.h>

#include "engine/kernels/cuda/atlas_cuda.h"
#include "engine/kernels/cuda/cuda_block.h"

namespace atlas::engine {
namespace {

constexpr int kRowThreads = 128;
constexpr int64_t kMostBlocks = 2147483647;

__global__ void rowKernel(const __grid_constant__ AtlasMsaProblem problem) {
    const int64_t rows = problem.queryWindows * problem.heads * problem.queriesPerWindow;
    for (int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; row < rows;
         row += static_cast<int64_t>(gridDim.x) * blockDim.x)
        msaForwardRow(problem, row);
}

template <class Element, class Shape>
__global__ void __launch_bounds__(Shape::threads)
    forwardKernel(const __grid_constant__ AtlasMsaProblem problem, int rowBlocks) {
    extern __shared__ __align__(128) char shared[];
    const int first = static_cast<int>(blockIdx.x % rowBlocks) * Shape::rows;
    const int head = static_cast<int>(blockIdx.x / rowBlocks % problem.heads);
    const int64_t window = blockIdx.x / rowBlocks / problem.heads;
    CudaBlock block(shared);
    MsaForward<Element, Shape, CudaBlock>(block, problem, window, head, first).run();
}

template <class Element, class Shape>
__global__ void __launch_bounds__(Shape::threads)
    receivedKernel(const __grid_constant__ AtlasMsaProblem problem,
                   const __grid_constant__ AtlasMsaReceived request, int rowBlocks) {
    extern __shared__ __align__(128) char shared[];
    const int first = static_cast<int>(blockIdx.x % rowBlocks) * Shape::rows;
    const int head = static_cast<int>(blockIdx.x / rowBlocks % problem.heads);
    const int64_t window = blockIdx.x / rowBlocks / problem.heads;
    CudaBlock block(shared);
    MsaReceived<Element, Shape, CudaBlock>(block, problem, request, window, head, first,
                                           static_cast<int>(blockIdx.y))
        .run();
}

const char* causeOf(cudaError_t error) {
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

/// More than 48 KB of shared memory has to be asked for; once a kernel and device would do, but
/// the call costs little beside a launch.
const char* allowShared(const void* kernel, int bytes) {
    if (bytes <= 48 * 1024) return nullptr;
    return causeOf(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

template <class Element>
const char* forward(const AtlasMsaProblem& p, cudaStream_t stream) {
    return msaWithShape(p.headDim, p.queriesPerWindow, [&](auto shape) -> const char* {
        using Shape = decltype(shape);
        const auto kernel = forwardKernel<Element, Shape>;
        const int rowBlocks = (p.queriesPerWindow + Shape::rows - 1) / Shape::rows;
        const int64_t blocks = p.queryWindows * p.heads * rowBlocks;
        if (blocks > kMostBlocks) return "too many windows at once";
        if (const char* cause =
                allowShared(reinterpret_cast<const void*>(kernel), Shape::sharedBytes))
            return cause;
        kernel<<<static_cast<unsigned>(blocks), Shape::threads, Shape::sharedBytes, stream>>>(
            p, rowBlocks);
        return causeOf(cudaGetLastError());
    });
}

template <class Element>
const char* received(const AtlasMsaProblem& p, const AtlasMsaReceived& r, cudaStream_t stream) {
    const AtlasMsaSegment& s = p.segment[r.segment];
    return msaWithShape(p.headDim, s.keysPerWindow, [&](auto shape) -> const char* {
        using Shape = decltype(shape);
        const auto kernel = receivedKernel<Element, Shape>;
        const int rowBlocks = (s.keysPerWindow + Shape::rows - 1) / Shape::rows;
        const int64_t blocks = s.keyWindows * p.heads * rowBlocks;
        if (blocks > kMostBlocks) return "too many windows at once";
        if (const char* cause =
                allowShared(reinterpret_cast<const void*>(kernel), Shape::sharedBytes))
            return cause;
        const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(r.parts));
        kernel<<<grid, Shape::threads, Shape::sharedBytes, stream>>>(p, r, rowBlocks);
        return causeOf(cudaGetLastError());
    });
}

}  // namespace
}  // namespace atlas::engine

using namespace atlas::engine;

extern "C" int atlas_cuda_version(void) {
    return kAtlasMsaVersion;
}

extern "C" int atlas_cuda_device_count(void) {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

extern "C" const char* atlas_cuda_msa_forward(const AtlasMsaProblem* problem, void* stream) {
    if (const char* cause = msaCheck(*problem)) return cause;
    const auto on = static_cast<cudaStream_t>(stream);
    const int64_t rows = problem->queryWindows * problem->heads * problem->queriesPerWindow;
    if (rows == 0) return nullptr;
    if (problem->element == kAtlasBfloat16) return forward<MsaBfloat16>(*problem, on);
    if (problem->element == kAtlasFloat16) return forward<MsaFloat16>(*problem, on);
    const int64_t blocks = (rows + kRowThreads - 1) / kRowThreads;
    const auto grid = static_cast<unsigned>(blocks < 1048576 ? blocks : 1048576);
    rowKernel<<<grid, kRowThreads, 0, on>>>(*problem);
    return causeOf(cudaGetLastError());
}

extern "C" const char* atlas_cuda_msa_received(const AtlasMsaProblem* problem,
                                               const AtlasMsaReceived* request, void* stream) {
    if (const char* cause = msaCheckReceived(*problem, *request)) return cause;
    const auto on = static_cast<cudaStream_t>(stream);
    if (problem->segment[request->segment].keyWindows == 0) return nullptr;
    if (problem->element == kAtlasBfloat16) return received<MsaBfloat16>(*problem, *request, on);
    return received<MsaFloat16>(*problem, *request, on);
}
