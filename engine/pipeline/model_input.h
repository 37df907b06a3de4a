// SPDX-License-Identifier: Apache-2.0
// What a network is given of an image: which bands, and how their values become 8-bit colour. It
// follows from the user's choice, else from the model's config, else from the image alone. The
// display of the viewer has no part in it, so that changing the display never changes a result.
#pragma once

#include <memory>
#include <string>

#include "engine/nn/model_config.h"
#include "engine/pipeline/input_choice.h"
#include "io/color_source.h"

namespace atlas::engine {

/// The choice that two texts of a user make; empty texts leave both to model and image.
/// `bands`: three band numbers from 1, or band names, with commas between ("4,3,2", "B04,B03,B02").
/// `stretch`: none, percentile, LOW-HIGH% (such as 1-99%), minmax, or LOW,HIGH in the image's
/// values. Throws std::invalid_argument with the reason.
InputChoice parseInputChoice(const std::string& bands, const std::string& stretch);

/// Bands and scaling for this image and model; percentiles and extremes are not measured yet.
/// Throws std::runtime_error with the image's path where it lacks a band that was asked for.
io::DisplaySettings modelInputSettings(const io::ImageInfo& info, const ModelConfig& model,
                                       const InputChoice& choice);

/// Index from 0 of a band that is named by its number from 1, its name or its colour. Throws
/// std::runtime_error with the image's path and its bands.
int bandNamed(const io::ImageInfo& info, const std::string& name);

/// Bands whose numbers a network asks for instead of 8-bit colour; empty: it is given colour.
/// Throws like bandNamed().
std::vector<int> storedBands(const io::ImageInfo& info, const ModelConfig& model,
                             const io::DisplaySettings& settings);

/// The image as the network sees it. Percentiles and extremes are measured here, on the whole
/// image: at most 16 patches of 256 x 256 pixels at fixed places of its coarsest level, so that the
/// same file gives the same values. Throws like modelInputSettings(), and ReadError.
std::shared_ptr<const io::ColorSource> openModelInput(const io::SourcePtr& source,
                                                      const ModelConfig& model,
                                                      const InputChoice& choice,
                                                      std::shared_ptr<io::TileCache> cache);

/// One line for a person, such as "Input: R=4 G=3 B=2, 2-98 % of the image (88 to 3120)", or, of a
/// network that asks for the file's own numbers, "Input: bands 1 2 3 4, numbers of the file".
std::string modelInputLine(const io::ImageInfo& info, const io::DisplaySettings& settings,
                           const ModelConfig* model = nullptr);

/// "none", "percentile", "minmax" or "given", as run.json records it.
const char* stretchName(io::Stretch stretch);

}  // namespace atlas::engine
