// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace atlas::engine {

/// `choice`: fp32, bf16, or auto. `auto` measures a convolution both ways, once a process: bfloat16
/// is several times faster with AMX or AVX-512 and a hundred times slower without.
bool useBfloat16(const std::string& choice);

/// Which of two ways is faster, measured once and remembered in `cache`/precision.json under a key
/// of machine, threads, LibTorch and `what`. Each callback is timed after a first call. An empty
/// `cache`, or one that cannot be written, is measured every time.
bool fasterInBfloat16(const std::filesystem::path& cache, const std::string& what,
                      const std::function<void()>& fp32, const std::function<void()>& bf16);

}  // namespace atlas::engine
