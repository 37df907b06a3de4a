// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "engine/nn/classifier.h"

namespace atlas::engine {

/// A model folder whose architecture Backbone knows. Throws ModelError.
std::unique_ptr<Classifier> openBackbone(const std::filesystem::path& dir,
                                         const ModelConfig& config,
                                         const ClassifierOptions& options);

}  // namespace atlas::engine
