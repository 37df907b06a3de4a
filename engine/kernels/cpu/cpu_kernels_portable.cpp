// SPDX-License-Identifier: Apache-2.0
#define ATLAS_ISA portable
#include "engine/kernels/cpu/cpu_kernels_body.h"

namespace atlas::engine {
extern const CpuKernels kPortableKernels;
const CpuKernels kPortableKernels = ATLAS_KERNEL_TABLE("portable");
}  // namespace atlas::engine
