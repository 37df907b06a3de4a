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

/// What the plug-in finds on a GPU.
typedef struct AtlasCudaReport {
    int32_t error;    ///< cudaError_t of the first call that failed; 0: its kernels can run there
    int32_t devices;  ///< GPUs that CUDA shows
    int32_t driver;   ///< newest CUDA that the driver knows, e.g. 12040; 0: there is no driver
    int32_t runtime;  ///< CUDA that the plug-in was built with
    int32_t major, minor;  ///< compute capability of the GPU; 0: unknown
    char call[48];         ///< the call that failed
    char text[208];        ///< what CUDA says of the error
} AtlasCudaReport;

/// kAtlasMsaVersion of the header that the plug-in was built with.
ATLAS_CUDA_API int atlas_cuda_version(void);
/// Can the kernels run on GPU `device`? Fills the report; the thread's GPU is as before.
ATLAS_CUDA_API void atlas_cuda_report(int device, AtlasCudaReport* report);
/// These enqueue an operation on `stream` (a cudaStream_t) of GPU `device`, whatever the thread's
/// own GPU is. All pointers are pointers of that GPU. NULL on success, otherwise the cause, which
/// lasts until the thread's next call.
ATLAS_CUDA_API const char* atlas_cuda_msa_forward(const AtlasMsaProblem* problem, int device,
                                                  void* stream);
ATLAS_CUDA_API const char* atlas_cuda_msa_received(const AtlasMsaProblem* problem,
                                                   const AtlasMsaReceived* request, int device,
                                                   void* stream);

#ifdef __cplusplus
}
#endif

#endif
