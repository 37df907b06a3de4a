// SPDX-License-Identifier: Apache-2.0
// Atlas networks as classifiers: on the processor by AtlasRunner, on a device by LibTorch.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/nn/classifier.h"

namespace atlas::engine {

/// Throws ModelError with path and cause.
std::unique_ptr<Classifier> openAtlas(const std::filesystem::path& dir,
                                      const ClassifierOptions& options);

}  // namespace atlas::engine
