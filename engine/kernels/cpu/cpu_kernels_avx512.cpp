// SPDX-License-Identifier: Apache-2.0
#define ATLAS_ISA avx512
#include "engine/kernels/cpu/cpu_kernels_body.h"

namespace atlas::engine {
extern const CpuKernels kAvx512Kernels;
const CpuKernels kAvx512Kernels = ATLAS_KERNEL_TABLE("avx512");
}  // namespace atlas::engine
