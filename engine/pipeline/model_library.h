// SPDX-License-Identifier: Apache-2.0
// The models that a user has: what each is, adding, removing, and whether one works here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/nn/classifier.h"

namespace atlas::engine {

struct ModelCard {
    std::filesystem::path dir;  ///< a model folder, or an .onnx file
    ModelConfig config;
    std::string format;  ///< "Atlas", "vil", "TorchScript", "ONNX" ...
    int64_t bytes = 0;   ///< of everything in it
};
/// Without reading the weights. Throws ModelError with path and cause.
ModelCard modelCard(const std::filesystem::path& dir);

/// Copies a model into `library` (first aside, then renamed) and gives its new place: an .onnx
/// file, or of a folder its configuration, weights and texts, whatever else lies there; the one
/// there already where the same weights are. Throws std::runtime_error, also where another model of
/// this name is there.
std::filesystem::path addModel(const std::filesystem::path& from,
                               const std::filesystem::path& library);

/// Deletes a model that lies directly in `library`. Throws std::runtime_error for others.
void removeModel(const std::filesystem::path& dir, const std::filesystem::path& library);

/// What a model answers to three made-up contexts, one of them twice.
struct ModelCheck {
    bool good = false;
    std::string finding;           ///< in one sentence, also where all is well
    double secondsPerContext = 0;  ///< one at a time, the faster of two
    double megapixelsPerSecond = 0;
    std::string device;
};
ModelCheck checkModel(const Classifier& classifier);

}  // namespace atlas::engine
