// SPDX-License-Identifier: Apache-2.0
// What the processor's multiply-add units can do at most: independent chains of multiply-adds in
// registers, without a load or a store. No product can be faster, whoever wrote it.
#pragma once

#include <cstdint>
#include <vector>

namespace atlas::engine {

/// One kind of instruction.
struct PeakLoop {
    const char* name;  ///< such as "avx512" or "amx-bf16"
    bool bf16;         ///< products of bfloat16, summed in float32; else all float32
    double flops;      ///< of a step: a multiplication and an addition count as two
    /// Runs a number of steps and returns a sum of what they made, so that none is left out.
    float (*run)(int64_t steps);
};

/// Those that this processor and this system can run.
std::vector<const PeakLoop*> usablePeakLoops();

struct ProcessorPeak {
    double gflops = 0;      ///< of all threads together; 0: there are no such instructions
    const char* name = "";  ///< the fastest kind of instruction
};

/// The fastest of the loops on so many threads at once, each measured for about `seconds`, in
/// pieces of some milliseconds of which the best counts.
ProcessorPeak measurePeak(bool bf16, int threads, double seconds);

}  // namespace atlas::engine
