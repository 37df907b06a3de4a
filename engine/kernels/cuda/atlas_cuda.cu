// SPDX-License-Identifier: Apache-2.0
// The CUDA plug-in: segmented attention with a C interface, no LibTorch inside.
//
// 16-bit elements: one thread block for each (query block, head, window), the program of
// msa_block.h on tensor cores. Neighbouring blocks are those of one window and head, then of one
// window, so that coarse keys shared by many windows stay in the L2 cache. Float32: one thread a
// query row, msaForwardRow; exact rather than fast.
#include <cuda_runtime.h>

#include <cstdio>

#include "engine/kernels/cuda/atlas_cuda.h"
#include "engine/kernels/cuda/cuda_block.h"
#include "engine/kernels/cuda/launch.h"

namespace atlas::engine {
namespace {

constexpr int kRowThreads = 128;
constexpr int64_t kMostBlocks = 2147483647;
constexpr int64_t kMostRowBlocks = 1048576;  // each goes on with the next rows

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

/// The CUDA runtime, as launch.h wants it.
struct CudaApi {
    int currentDevice(int* device) { return cudaGetDevice(device); }
    int useDevice(int device) { return cudaSetDevice(device); }
    int allowShared(const void* kernel, int bytes) {
        return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    }
    int takeError() { return cudaGetLastError(); }
    const char* name(int error) { return cudaGetErrorName(static_cast<cudaError_t>(error)); }
    const char* text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
};

/// Where an operation runs.
struct Place {
    int device;
    cudaStream_t stream;
};

template <typename Kernel>
const void* addressOf(Kernel* kernel) {
    return reinterpret_cast<const void*>(kernel);
}

template <class Element>
const char* forward(const AtlasMsaProblem& p, const Place& on) {
    return msaWithShape(p.headDim, p.queriesPerWindow, [&](auto shape) -> const char* {
        using Shape = decltype(shape);
        const auto kernel = forwardKernel<Element, Shape>;
        const int rowBlocks = (p.queriesPerWindow + Shape::rows - 1) / Shape::rows;
        const int64_t blocks = p.queryWindows * p.heads * rowBlocks;
        if (blocks > kMostBlocks) return "too many windows at once";
        CudaApi api;
        return launchOn(api, on.device, addressOf(kernel), Shape::sharedBytes, [&] {
            kernel<<<static_cast<unsigned>(blocks), Shape::threads, Shape::sharedBytes,
                     on.stream>>>(p, rowBlocks);
        });
    });
}

template <class Element>
const char* received(const AtlasMsaProblem& p, const AtlasMsaReceived& r, const Place& on) {
    const AtlasMsaSegment& s = p.segment[r.segment];
    return msaWithShape(p.headDim, s.keysPerWindow, [&](auto shape) -> const char* {
        using Shape = decltype(shape);
        const auto kernel = receivedKernel<Element, Shape>;
        const int rowBlocks = (s.keysPerWindow + Shape::rows - 1) / Shape::rows;
        const int64_t blocks = s.keyWindows * p.heads * rowBlocks;
        if (blocks > kMostBlocks) return "too many windows at once";
        const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(r.parts));
        CudaApi api;
        return launchOn(api, on.device, addressOf(kernel), Shape::sharedBytes, [&] {
            kernel<<<grid, Shape::threads, Shape::sharedBytes, on.stream>>>(p, r, rowBlocks);
        });
    });
}

const char* forwardRows(const AtlasMsaProblem& p, int64_t rows, const Place& on) {
    const int64_t blocks = (rows + kRowThreads - 1) / kRowThreads;
    const auto grid = static_cast<unsigned>(blocks < kMostRowBlocks ? blocks : kMostRowBlocks);
    CudaApi api;
    return launchOn(api, on.device, addressOf(rowKernel), 0,
                    [&] { rowKernel<<<grid, kRowThreads, 0, on.stream>>>(p); });
}

void note(AtlasCudaReport& report, const char* call, cudaError_t error) {
    report.error = error;
    std::snprintf(report.call, sizeof report.call, "%s", call);
    std::snprintf(report.text, sizeof report.text, "%s (%s)", cudaGetErrorString(error),
                  cudaGetErrorName(error));
    cudaGetLastError();
}

/// Every kernel is of one module: where one of them has no code for a GPU, none has.
void lookAt(int device, AtlasCudaReport& report) {
    if (const auto error = cudaGetDeviceCount(&report.devices)) {
        report.devices = 0;
        return note(report, "cudaGetDeviceCount", error);
    }
    CudaApi api;
    const DeviceScope<CudaApi> scope(api, device);
    if (scope.error() != 0)
        return note(report, "cudaSetDevice", static_cast<cudaError_t>(scope.error()));
    cudaDeviceGetAttribute(&report.major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&report.minor, cudaDevAttrComputeCapabilityMinor, device);
    cudaFuncAttributes attributes;
    if (const auto error = cudaFuncGetAttributes(&attributes, addressOf(rowKernel)))
        note(report, "cudaFuncGetAttributes", error);
}

}  // namespace
}  // namespace atlas::engine

using namespace atlas::engine;

extern "C" int atlas_cuda_version(void) {
    return kAtlasMsaVersion;
}

extern "C" void atlas_cuda_report(int device, AtlasCudaReport* report) {
    *report = {};
    if (cudaDriverGetVersion(&report->driver) != cudaSuccess) report->driver = 0;
    if (cudaRuntimeGetVersion(&report->runtime) != cudaSuccess) report->runtime = CUDART_VERSION;
    cudaGetLastError();
    lookAt(device, *report);
}

extern "C" const char* atlas_cuda_msa_forward(const AtlasMsaProblem* problem, int device,
                                              void* stream) {
    if (const char* cause = msaCheck(*problem)) return cause;
    const Place on{device, static_cast<cudaStream_t>(stream)};
    const int64_t rows = problem->queryWindows * problem->heads * problem->queriesPerWindow;
    if (rows == 0) return nullptr;
    if (problem->element == kAtlasBfloat16) return forward<MsaBfloat16>(*problem, on);
    if (problem->element == kAtlasFloat16) return forward<MsaFloat16>(*problem, on);
    return forwardRows(*problem, rows, on);
}

extern "C" const char* atlas_cuda_msa_received(const AtlasMsaProblem* problem,
                                               const AtlasMsaReceived* request, int device,
                                               void* stream) {
    if (const char* cause = msaCheckReceived(*problem, *request)) return cause;
    const Place on{device, static_cast<cudaStream_t>(stream)};
    if (problem->segment[request->segment].keyWindows == 0) return nullptr;
    if (problem->element == kAtlasBfloat16) return received<MsaBfloat16>(*problem, *request, on);
    return received<MsaFloat16>(*problem, *request, on);
}
