// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__GLIBC__) || __has_include(<malloc.h>)
#include <malloc.h>
#endif

namespace atlas::app {

/// Tensors of tens of MiB come and go; giving each back to the system costs more in page faults
/// than the arithmetic. Keeps freed blocks below 32 MiB.
inline void keepLargeBlocks() {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace atlas::app
