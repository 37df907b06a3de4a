// SPDX-License-Identifier: Apache-2.0
// Exported models in the layout of WSInfer's zoo: torchscript_model.pt and config.json.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/nn/classifier.h"

namespace atlas::engine {

inline constexpr const char* kTorchScriptFile = "torchscript_model.pt";

/// TorchScript is code: refused with ModelError unless `options.refuseCode` lets it run. The file
/// is read once: what was asked about is what runs, whatever becomes of the file meanwhile.
std::unique_ptr<Classifier> openTorchScript(const std::filesystem::path& dir,
                                            const ModelConfig& config,
                                            const ClassifierOptions& options);

}  // namespace atlas::engine
