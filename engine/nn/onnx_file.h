// SPDX-License-Identifier: Apache-2.0
// What an .onnx file says of itself in Deepness' metadata, without loading the network.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "engine/nn/model_config.h"

namespace atlas::engine {

/// The .onnx file itself, or the only one in a folder with nothing but texts beside it; empty:
/// there is none.
std::filesystem::path findOnnx(const std::filesystem::path& model);

/// `metadata_props` of the file. Throws ModelError where it is no ONNX file or damaged.
std::map<std::string, std::string> readOnnxMetadata(const std::filesystem::path& file);

/// Deepness' keys (model_type Segmentor; ours: Classifier). Throws ModelError with the key.
ModelConfig configOfOnnx(const std::filesystem::path& file);

}  // namespace atlas::engine
