// SPDX-License-Identifier: Apache-2.0
// Whether a model suits an image: what is refused, what a person is warned of before a run, and in
// which words. Facts of a model and of an image go in, findings come out.
//
//     for (const Finding& finding : suitability(image, model, request)) show(finding.text());
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/nn/picture_statistics.h"
#include "engine/pipeline/finding.h"
#include "engine/pipeline/run_request.h"
#include "io/color_source.h"

namespace atlas::engine {

inline constexpr double kLeastContextPx = 16;    ///< level-0 pixels along a model's square
inline constexpr double kMostContextPx = 16000;  ///< likewise
inline constexpr int64_t kLeastWholePx = 16;     ///< model pixels along a whole image

/// What is in the picture.
enum class Subject { Unknown, Tissue, Ground };

/// What a model is made for.
struct ModelFacts {
    std::string name;
    Subject subject = Subject::Unknown;
    double umPerPixel = 0;
    int64_t sidePx = 0;   ///< of the squares that it looks at, in its own pixels
    bool ground = false;  ///< lengths are told in metres

    double sideUm() const { return umPerPixel * static_cast<double>(sidePx); }
};
ModelFacts factsOf(const ModelConfig& model);

/// What the colours of a picture are like, 0 to 1.
struct PictureLook {
    double glass = 0;    ///< of the pixels with data: nearly white
    double stained = 0;  ///< of those that are neither glass nor black: pink or purple (H&E)
    bool looksLikeTissue() const;
};
PictureLook lookOf(const io::RgbaImage& picture);

/// What an image is. `look` is known only where pixels were read.
struct ImageFacts {
    std::string path;
    int64_t width = 0, height = 0;  ///< level-0 pixels
    io::Rect region;                ///< what is asked about, cut to the image
    bool regionOutside = false;
    std::optional<io::Resolution> own;  ///< as the file says it
    std::optional<double> givenUm;      ///< as the user says it, micrometres a pixel
    bool georeferenced = false;         ///< with a coordinate reference system
    bool slideFormat = false;           ///< a format that only slide scanners write
    std::string format;
    std::vector<std::string> warnings;  ///< of the reader, such as a tag that was not believed
    std::optional<PictureLook> look;

    /// Micrometres a pixel that a run goes by; 0: not known.
    double umX() const;
    double umY() const;
};
ImageFacts factsOf(const io::ImageInfo& info, const RunRequest& request);

/// What is in the image, and how that is known ("has a coordinate reference system").
struct SubjectEvidence {
    Subject subject = Subject::Unknown;
    std::string because;
};
SubjectEvidence subjectOf(const ImageFacts& image);

/// Scale, subject and size: no pixels. `whole`: the region is one context.
std::vector<Finding> judge(const ModelFacts& model, const ImageFacts& image, bool whole);

/// Colours and texture of `pictures` of the image against what the model records of its training.
/// `channels` holds the values of the same pixels. Empty where they do not differ.
std::vector<Finding> judgePictures(const PictureReference& reference,
                                   const PictureComparison& pictures,
                                   const ChannelHistogram& channels);

/// Everything that can be told before the run. Reads a coarse level and a few squares at the
/// model's resolution, some 3 million pixels in all. `image` is what the network will be given.
/// Throws io::ReadError.
std::vector<Finding> suitability(const io::ColorSource& image, const ModelConfig& model,
                                 const RunRequest& request);

/// A model that cannot answer for an image; what() has the image's path and the finding's words.
class Unsuitable : public std::runtime_error {
  public:
    Unsuitable(const std::string& path, Finding why)
        : std::runtime_error(path + ": " + why.text()), finding(std::move(why)) {}
    Finding finding;
};

/// Throws Unsuitable with the first finding that says that there can be no answer. Reads no pixels.
void requireSuitable(const io::ImageInfo& info, const ModelConfig& model,
                     const RunRequest& request);

}  // namespace atlas::engine
