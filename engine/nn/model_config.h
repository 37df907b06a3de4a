// SPDX-License-Identifier: Apache-2.0
// What a model folder's config.json says: WSInfer's zoo keys and our `atlas` block. No tensors.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/nn/atlas_config.h"

namespace atlas::engine {

struct ModelConfig {
    std::string name;
    std::string description;
    std::string licence;
    std::vector<std::string> classNames;
    std::vector<std::array<uint8_t, 3>> classColors;  ///< as many as classes
    int64_t patchSizePx = 0;                          ///< side of the context in model pixels
    double spacingUmPx = 0;                           ///< microns per model pixel
    bool ground = false;                              ///< resolution is shown in metres
    std::vector<float> mean, std;
    AtlasConfig network;
    std::string trainingRecord = "{}";  ///< JSON text

    /// Scale tokens of this network at its own patch size, finest first, in model pixels a token.
    std::vector<int64_t> tokenSidesPx() const;
};

/// Reads `dir`/config.json. Throws ModelError with path, key and cause.
ModelConfig loadModelConfig(const std::filesystem::path& dir);

/// Writes `dir`/config.json (write, then rename).
void saveModelConfig(const std::filesystem::path& dir, const ModelConfig& config);

/// Class colours: Okabe-Ito first, then a longer colour-blind safe set, repeated at need.
std::vector<std::array<uint8_t, 3>> defaultClassColors(size_t count);

}  // namespace atlas::engine
