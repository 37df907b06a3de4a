/* SPDX-License-Identifier: Apache-2.0 */
/* The C interface of libatlas_cuda. Each function may be called from any thread. */
#ifndef ATLASSCOPE_ATLAS_CUDA_H
#define ATLASSCOPE_ATLAS_CUDA_H

#include "engine/kernels/msa.h"

#if defined(_WIN32)
#define ATLAS_CUDA_API __declspec(dllexport)
#else
#define ATLAS_CUDA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/// kAtlasMsaVersion of the header that the plug-in was built with.
ATLAS_CUDA_API int atlas_cuda_version(void);
/// 0 where there is no driver or no device.
ATLAS_CUDA_API int atlas_cuda_device_count(void);
/// These enqueue an operation on `stream` (a cudaStream_t) of the current device. All pointers are
/// device pointers. NULL on success, otherwise the cause (static storage).
ATLAS_CUDA_API const char* atlas_cuda_msa_forward(const AtlasMsaProblem* problem, void* stream);
ATLAS_CUDA_API const char* atlas_cuda_msa_received(const AtlasMsaProblem* problem,
                                                   const AtlasMsaReceived* request, void* stream);

#ifdef __cplusplus
}
#endif

#endif
