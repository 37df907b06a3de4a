// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace atlas::engine {

/// `choice`: fp32, bf16, or auto. `auto` measures a convolution both ways, once a process: bfloat16
/// is several times faster with AMX or AVX-512 and a hundred times slower without.
bool useBfloat16(const std::string& choice);

/// Whether bfloat16 is worth its rounding, by seconds of the same work both ways, measured in turns
/// so that what disturbs one way disturbs the other: the quickest of each decides, and bfloat16 has
/// to be a tenth quicker. False where one of them was not measured.
bool gainsByBfloat16(const std::vector<double>& fp32, const std::vector<double>& bf16);

/// What was measured of some work before is kept in a file, `cache`/precision.json, under a key of
/// machine, threads, LibTorch and `what`. Nothing where it was not measured.
std::optional<bool> rememberedFasterInBfloat16(const std::filesystem::path& cache,
                                               const std::string& what);

/// Which of two ways is faster, measured once and remembered. Each callback is called once before
/// it is timed. With an empty `cache`, or one that cannot be written, it is measured every time.
bool fasterInBfloat16(const std::filesystem::path& cache, const std::string& what,
                      const std::function<void()>& fp32, const std::function<void()>& bf16);

/// What a user who asks for bfloat16 on the processor should know; empty where it is of use.
/// `tiles`: the processor multiplies tiles of bfloat16 (AMX). `measured`: whether bfloat16 was
/// found to be faster, where that is known.
std::string bfloat16Warning(bool tiles, const std::optional<bool>& measured);

}  // namespace atlas::engine
