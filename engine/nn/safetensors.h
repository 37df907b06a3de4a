// SPDX-License-Identifier: Apache-2.0
// Reads and writes safetensors files: a JSON header and raw little-endian tensors, no code.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// All tensors of a file, on the CPU, in their own types (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL).
/// Header, offsets and shapes are checked before anything is allocated; throws ModelError with
/// path, tensor and cause.
StateDict loadSafetensors(const std::filesystem::path& path);

/// The same on a device, numbers with a fraction as float32: what a network computes with.
StateDict loadWeights(const std::filesystem::path& path, at::Device device);

/// Writes to a temporary file beside `path`, then renames. Throws ModelError.
void saveSafetensors(const std::filesystem::path& path, const StateDict& tensors,
                     const std::map<std::string, std::string>& metadata = {});

}  // namespace atlas::engine
