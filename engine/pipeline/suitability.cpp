// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/suitability.h"

#include <algorithm>
#include <cmath>

#include "io/numbers.h"

namespace atlas::engine {
namespace {

constexpr double kGroundFromUm = 1000;  // a model pixel of a millimetre or more shows the ground
constexpr double kTissueToUm = 20;      // and one of 20 micrometres or less tissue
constexpr double kSlideTagToUm = 4;     // a resolution tag that only microscopes write
constexpr double kContradicts = 1.2;    // ratio of two resolutions that do not mean the same
constexpr double kLeastCovered = 0.5;   // of a square that lies in the image
constexpr double kMostWholePx = 16e6;   // model pixels along a whole image
constexpr double kCoarser = 1.5;        // ratio of pixels from which detail is missed

std::string shown(const ModelFacts& model, double um) {
    return lengthText(um, model.ground);
}

std::string shown(const io::Resolution& resolution) {
    std::string text = lengthText(resolution.umPerPixelX, resolution.ground);
    const double ratio = resolution.umPerPixelX / resolution.umPerPixelY;
    if (ratio > 1.01 || ratio < 0.99)
        text += " x " + lengthText(resolution.umPerPixelY, resolution.ground);
    return text;
}

const char* subjectWord(Subject subject) {
    return subject == Subject::Ground   ? "the ground seen from above"
           : subject == Subject::Tissue ? "tissue under a microscope"
                                        : "images";
}

std::string percent(double fraction) {
    return io::formatFixed(100 * fraction, 0) + " %";
}

/// "landuse is made for the ground seen from above at 0.3 m a pixel and looks at squares of 76.8 m"
std::string madeFor(const ModelFacts& model) {
    return "The model " + model.name + " is made for " + subjectWord(model.subject) + " at " +
           shown(model, model.umPerPixel) + " a pixel and looks at squares of " +
           shown(model, model.sideUm());
}

/// "a slide with 0.499 µm a pixel (from openslide.mpp)"
std::string imageIs(const ImageFacts& image, const ModelFacts& model) {
    std::string text = image.slideFormat     ? "a slide"
                       : image.georeferenced ? "a georeferenced raster"
                                             : "an image";
    if (image.givenUm)
        text +=
            " with " + lengthText(*image.givenUm, model.ground) + " a pixel (as you gave it" +
            (image.own ? "; the file says " + shown(*image.own) + ", from its " + image.own->origin
                       : std::string()) +
            ")";
    else if (image.own)
        text += " with " + shown(*image.own) + " a pixel (from its " + image.own->origin + ")";
    return text;
}

std::string modelFor(Subject subject) {
    return subject == Subject::Tissue   ? "Choose a model for tissue"
           : subject == Subject::Ground ? "Choose a model for the ground"
                                        : "Choose a model for images of this resolution";
}

constexpr const char* kGiveResolution =
    "give the right one (--resolution, or \"Resolution\" in the Run panel)";

std::string orGiveResolution(const ImageFacts& image) {
    return std::string("; or, if the image's resolution is wrong, ") +
           (image.givenUm ? "give another one (--resolution, or \"Resolution\" in the Run panel)"
                          : kGiveResolution) +
           ".";
}

Finding noResolution(const ModelFacts& model, const ImageFacts& image) {
    Finding finding{"resolution-missing", Severity::Refuse, "The image does not say its resolution",
                    "", ""};
    for (const auto& warning : image.warnings) finding.what += " (" + warning + ")";
    finding.what += ".";
    finding.why = madeFor(model) + ", so that it must know how large a pixel is.";
    finding.todo =
        "Give it, e.g. --resolution " +
        io::formatSignificant(
            model.umPerPixel >= kGroundFromUm ? model.umPerPixel / 1e6 : model.umPerPixel, 3) +
        (model.umPerPixel >= kGroundFromUm ? "m" : "um") +
        " if its pixels are as large as the model's.";
    return finding;
}

/// Both are known, and they are not the same.
bool mismatch(const ModelFacts& model, Subject subject) {
    return model.subject != Subject::Unknown && subject != Subject::Unknown &&
           subject != model.subject;
}

/// A square of the model has no sensible size in this image.
std::optional<Finding> wrongScale(const ModelFacts& model, const ImageFacts& image) {
    const double width = model.sideUm() / image.umX(), height = model.sideUm() / image.umY();
    const bool coarse = std::min(width, height) < kLeastContextPx;
    const bool fine = std::max(width, height) > kMostContextPx;
    if (!coarse && !fine) return std::nullopt;
    const Subject subject = subjectOf(image).subject;
    const bool other = mismatch(model, subject);
    const char* code = other ? "subject" : coarse ? "resolution-too-coarse" : "resolution-too-fine";
    Finding finding{code, Severity::Refuse,
                    madeFor(model) + ", but this is " + imageIs(image, model) + ".", "", ""};
    const bool metres = image.own && !image.givenUm ? image.own->ground : model.ground;
    const std::string size = lengthText(static_cast<double>(image.width) * image.umX(), metres) +
                             " x " +
                             lengthText(static_cast<double>(image.height) * image.umY(), metres);
    if (fine)
        finding.why =
            "The whole image would show " + size + ", " +
            (static_cast<double>(image.width) * image.umX() < model.sideUm()
                 ? "a small part of one such square"
                 : "and one such square would be more than " +
                       std::to_string(static_cast<int>(kMostContextPx)) + " pixels wide") +
            (other ? "." : ": the image is too fine for the model.");
    else
        finding.why =
            (std::max(width, height) < 1
                 ? std::string("One pixel of this image is larger than a whole such square")
                 : "One such square would be only " +
                       io::formatSignificant(std::min(width, height), 2) +
                       " pixels of this image wide") +
            ": the image is too coarse for the model.";
    finding.todo = modelFor(other ? subject : Subject::Unknown) + orGiveResolution(image);
    return finding;
}

std::optional<Finding> tooSmall(const ModelFacts& model, const ImageFacts& image, bool whole) {
    const double width = static_cast<double>(image.region.width) * image.umX() / model.umPerPixel,
                 height = static_cast<double>(image.region.height) * image.umY() / model.umPerPixel;
    const Subject subject = subjectOf(image).subject;
    const bool other = mismatch(model, subject);
    if (whole && std::max(width, height) > kMostWholePx)
        return Finding{other ? "subject" : "resolution-too-coarse", Severity::Refuse,
                       madeFor(model) + ", but this is " + imageIs(image, model) + ".",
                       "At the model's resolution the region would have more than " +
                           std::to_string(static_cast<int64_t>(kMostWholePx)) + " pixels a side.",
                       modelFor(other ? subject : Subject::Unknown) + orGiveResolution(image)};
    if (whole && std::min(std::llround(width), std::llround(height)) < kLeastWholePx)
        return Finding{
            other ? "subject" : "region-too-small", Severity::Refuse,
            madeFor(model) + ", but this is " + imageIs(image, model) + ".",
            "At the model's resolution the region of " + std::to_string(image.region.width) +
                " x " + std::to_string(image.region.height) + " pixels has " +
                std::to_string(std::llround(width)) + " x " + std::to_string(std::llround(height)) +
                ", too few for the network, which needs " + std::to_string(kLeastWholePx) +
                " each way.",
            (other ? modelFor(subject)
                   : std::string("Choose a larger region, or a model for finer images")) +
                orGiveResolution(image)};
    if (whole) return std::nullopt;
    const double side = static_cast<double>(model.sidePx);
    const double inside =
        std::min(1.0, static_cast<double>(image.width) * image.umX() / model.sideUm()) *
        std::min(1.0, static_cast<double>(image.height) * image.umY() / model.sideUm());
    if (side <= 0 || inside >= kLeastCovered) return std::nullopt;
    return Finding{"image-small", Severity::Warn,
                   "The whole image fills " + (inside < 0.01 ? "less than 1 %" : percent(inside)) +
                       " of one square of the model " + model.name + " (" +
                       shown(model, model.sideUm()) + "); the rest is empty.",
                   "The model has seen full squares in its training.",
                   "Choose a model that looks at smaller squares, or an image that shows more."};
}

std::vector<Finding> warningsOf(const ModelFacts& model, const ImageFacts& image) {
    std::vector<Finding> found;
    if (image.givenUm && image.own) {
        const double ratio = *image.givenUm / image.own->umPerPixelX;
        if (ratio > kContradicts || ratio < 1 / kContradicts)
            found.push_back({"resolution-contradicts", Severity::Warn,
                             "You gave " + lengthText(*image.givenUm, model.ground) +
                                 " a pixel, but the image itself says " + shown(*image.own) +
                                 " (from its " + image.own->origin + ").",
                             "The answers are those for an image with pixels as you gave them.",
                             "Leave the resolution out unless the file's is wrong."});
    }
    const auto evidence = subjectOf(image);
    if (mismatch(model, evidence.subject))
        found.push_back({"subject", Severity::Warn,
                         "The model " + model.name + " is made for " + subjectWord(model.subject) +
                             ", but the image seems to show " + subjectWord(evidence.subject) +
                             ": it " + evidence.because + ".",
                         "Its classes then mean nothing here, however sure it is of them.",
                         modelFor(evidence.subject) + "."});
    const double coarser = std::max(image.umX(), image.umY()) / model.umPerPixel;
    if (coarser > kCoarser)
        found.push_back({"resolution-coarse", Severity::Warn,
                         "The image's pixels are " + io::formatFixed(coarser, 1) +
                             " times as large as those the model was trained with.",
                         "Detail that it looks for is not there.",
                         "Choose a finer image, or a model for coarser ones."});
    return found;
}

}  // namespace

ModelFacts factsOf(const ModelConfig& model) {
    ModelFacts facts;
    facts.name = model.name;
    facts.umPerPixel = model.spacingUmPx;
    facts.sidePx = model.patchSizePx;
    facts.ground = model.ground;
    facts.subject = model.ground || model.spacingUmPx >= kGroundFromUm ? Subject::Ground
                    : model.spacingUmPx <= kTissueToUm                 ? Subject::Tissue
                                                                       : Subject::Unknown;
    return facts;
}

ImageFacts factsOf(const io::ImageInfo& info, const RunRequest& request) {
    ImageFacts facts;
    facts.path = info.path;
    facts.width = info.levels[0].width;
    facts.height = info.levels[0].height;
    const io::Rect whole{0, 0, facts.width, facts.height};
    facts.region = request.region ? io::intersect(*request.region, whole) : whole;
    facts.regionOutside = facts.region.empty();
    facts.own = info.resolution;
    facts.givenUm = request.resolutionUm;
    facts.georeferenced = info.georeference && !info.georeference->wkt.empty();
    // OpenSlide reads any tiled TIFF; what is in such a one only its pixels tell.
    facts.slideFormat = info.slide && info.format != "generic-tiff" && !facts.georeferenced &&
                        info.reader.starts_with("OpenSlide");
    facts.format = info.format;
    facts.warnings = info.warnings;
    return facts;
}

double ImageFacts::umX() const {
    return givenUm ? *givenUm : own ? own->umPerPixelX : 0;
}
double ImageFacts::umY() const {
    return givenUm ? *givenUm : own ? own->umPerPixelY : 0;
}

SubjectEvidence subjectOf(const ImageFacts& image) {
    if (image.georeferenced) return {Subject::Ground, "has a coordinate reference system"};
    if (image.slideFormat) return {Subject::Tissue, "is a slide (" + image.format + ")"};
    if (image.look && image.look->looksLikeTissue())
        return {Subject::Tissue, "has the colours of stained tissue (" +
                                     percent(image.look->glass) + " bright glass, " +
                                     percent(image.look->stained) + " of the rest pink or purple)"};
    if (image.own && image.own->ground)
        return {Subject::Ground, "is measured in metres (" + image.own->origin + ")"};
    if (image.own && image.own->umPerPixelX <= kSlideTagToUm)
        return {Subject::Tissue, "has " + shown(*image.own) + " a pixel (" + image.own->origin +
                                     "), as only microscopes do"};
    return {};
}

std::vector<Finding> judge(const ModelFacts& model, const ImageFacts& image, bool whole) {
    if (image.regionOutside)
        return {{"region-outside", Severity::Refuse,
                 "The region lies outside of the image, which is " + std::to_string(image.width) +
                     " x " + std::to_string(image.height) + " pixels large.",
                 "", "Choose a region inside of it: X,Y of its top left corner, then its size."}};
    if (!(image.umX() > 0) || !(image.umY() > 0)) return {noResolution(model, image)};
    if (!whole)
        if (const auto finding = wrongScale(model, image)) return {*finding};
    std::vector<Finding> found;
    if (const auto finding = tooSmall(model, image, whole)) found.push_back(*finding);
    if (!found.empty() && found[0].severity == Severity::Refuse) return found;
    for (auto& finding : warningsOf(model, image)) found.push_back(std::move(finding));
    return found;
}

void requireSuitable(const io::ImageInfo& info, const ModelConfig& model,
                     const RunRequest& request) {
    const ImageFacts image = factsOf(info, request);
    for (const auto& finding : judge(factsOf(model), image, request.wholeImage))
        if (finding.severity == Severity::Refuse) throw Unsuitable(info.path, finding);
}

}  // namespace atlas::engine
