// SPDX-License-Identifier: Apache-2.0
// ONNX models with Deepness' metadata: classification, and segmentation into a class map.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/nn/classifier.h"

namespace atlas::engine {

/// Throws ModelError with path and cause.
std::unique_ptr<Classifier> openOnnx(const std::filesystem::path& file, const ModelConfig& config,
                                     const ClassifierOptions& options);

}  // namespace atlas::engine
