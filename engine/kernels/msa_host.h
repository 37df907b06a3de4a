// SPDX-License-Identifier: Apache-2.0
// The CUDA plug-in's operations on the host, by the same code: for tests and self-tests.
#pragma once

#include "engine/kernels/msa.h"

namespace atlas::engine {

/// Float32 row by row; 16-bit elements by the block program of msa_block.h on an emulated thread
/// block. Slow. Throws std::invalid_argument.
void msaForwardHost(const AtlasMsaProblem& problem);
void msaReceivedHost(const AtlasMsaProblem& problem, const AtlasMsaReceived& received);

/// Rounds to nearest even.
uint16_t toBfloat16(float x);
uint16_t toFloat16(float x);
float fromBfloat16(uint16_t bits);
float fromFloat16(uint16_t bits);

}  // namespace atlas::engine
