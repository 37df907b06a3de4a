// SPDX-License-Identifier: Apache-2.0
#define ATLAS_ISA avx2
#include "engine/kernels/cpu/cpu_kernels_body.h"

namespace atlas::engine {
extern const CpuKernels kAvx2Kernels;
const CpuKernels kAvx2Kernels = ATLAS_KERNEL_TABLE("avx2");
}  // namespace atlas::engine
