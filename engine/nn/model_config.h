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

// Of ModelConfig::architecture, for exported models.
inline constexpr const char *kTorchScript = "torchscript", *kOnnx = "onnx";

/// What the pixels of a context are made of.
enum class InputValues {
    Color,    ///< three bands of 8 bits
    Stored,   ///< the numbers that the image file holds
    Physical  ///< these with the scale and offset that the file gives for each band
};

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
    std::string architecture = "atlas";  ///< or one that Backbone knows
    AtlasConfig network;                 ///< of Atlas
    std::string backbone = "{}";         ///< of the others: JSON text as Backbone::make() takes it
    std::vector<int64_t> mapSidesPx;     ///< of the others: places of their attention maps
    std::vector<std::string> mapNames;   ///< and what these show; empty texts where it is plain
    std::vector<std::string> massNames;  ///< of the others: what shares the first map's attention
    std::string trainingRecord = "{}";   ///< JSON text
    /// Bands that the model wants as red, green and blue: numbers from 1, or names. Empty: the
    /// image's colours.
    std::vector<std::string> colourBands;
    /// How values become 0 to 255, in the words of parseInputChoice(). Empty: 8-bit values as they
    /// are, others by percentiles of the image.
    std::string colourScaling;

    std::string transform = "[]";  ///< of exported models: JSON text of WSInfer's steps
    bool singleLogit = false;      ///< of exported models: one output through a sigmoid
    int64_t segmentSide = 0;       ///< of segmentation: places with an answer along a side
    InputValues inputValues = InputValues::Color;  ///< of ONNX models
    int64_t inputBands = 3;                        ///< of values that are not 8-bit colour
    float inputDivisor = 255;                      ///< of the input, before mean and std
    bool isAtlas() const { return architecture == "atlas"; }
    /// Scale tokens of this network at its own patch size, finest first, in model pixels a token;
    /// of other networks than Atlas the places of the stages' attention maps.
    std::vector<int64_t> tokenSidesPx() const;
    /// JSON text of what the network is: whatever the answers depend on besides the weights.
    std::string networkText() const;
    /// The network's own configuration read from JSON; sets the maps. Throws ModelError.
    void setBackbone(const std::string& architecture, const nlohmann::json& config);
};

/// Whether this is a model folder (config.json, or an .onnx file alone) or an .onnx file.
bool isModel(const std::filesystem::path& dir);

/// Reads `dir`/config.json, or the metadata of an .onnx file. Throws ModelError with path, key and
/// cause.
ModelConfig loadModelConfig(const std::filesystem::path& dir);

/// Writes `dir`/config.json (write, then rename).
void saveModelConfig(const std::filesystem::path& dir, const ModelConfig& config);

/// Class colours: Okabe-Ito first, then a longer colour-blind safe set, repeated at need.
std::vector<std::array<uint8_t, 3>> defaultClassColors(size_t count);

}  // namespace atlas::engine
