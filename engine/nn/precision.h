// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace atlas::engine {

/// `choice`: fp32, bf16, or auto. `auto` measures a convolution both ways, once a process: bfloat16
/// is several times faster with AMX or AVX-512 and a hundred times slower without.
bool useBfloat16(const std::string& choice);

}  // namespace atlas::engine
