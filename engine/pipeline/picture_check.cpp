// SPDX-License-Identifier: Apache-2.0
// The part of suitability.h that looks at pixels.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/pipeline/model_input.h"
#include "engine/pipeline/suitability.h"
#include "io/numbers.h"

namespace atlas::engine {
namespace {

constexpr int kOverviewPx = 512;                        // longest side of the coarse picture
constexpr int64_t kMostCoarsestPx = int64_t{64} << 20;  // of a file's coarsest level, to be cheap
constexpr int kPlaces = 32;                             // along a side, where a square may be taken
constexpr size_t kMostSquares = 32;
constexpr double kLeastInside = 0.5;  // of a square that shows something

// Nearly white, without a colour: the glass of a slide, paper.
constexpr int kGlassValue = 200, kGlassChroma = 25, kBlackValue = 12;
// Red and blue above green by this much: eosin and haematoxylin.
constexpr int kRedAboveGreen = 12, kBlueAboveGreen = 8;

// Measured on thumbnails: three her2st sections 44, 75 and 83 % stained with 77, 66 and 83 %
// glass; CMU-1 96 % with 66 % glass; 48 osteosarcoma tiles at least 94 %. The 1680 + 210 tiles of
// UC Merced: 99 % of them at most 5 %, the most 53 %; twelve aerial and satellite rasters at most 7
// %.
constexpr double kStainedWithGlass = 0.35, kGlassOfSlides = 0.25, kStainedAlone = 0.7;

bool isGlass(const uint8_t* p) {
    const int low = std::min({p[0], p[1], p[2]}), high = std::max({p[0], p[1], p[2]});
    return low >= kGlassValue && high - low <= kGlassChroma;
}

/// A coarse picture of the region; nothing where a file has no coarse level and is large.
std::optional<io::RgbaImage> overviewOf(const io::ColorSource& image, const io::Rect& region) {
    const auto& coarsest = image.info().levels.back();
    if (coarsest.width * coarsest.height > kMostCoarsestPx) return std::nullopt;
    const double down =
        std::max(1.0, static_cast<double>(std::max(region.width, region.height)) / kOverviewPx);
    const auto pixels = [down](int64_t length) {
        return std::max(1, static_cast<int>(static_cast<double>(length) / down));
    };
    return image.resample(static_cast<double>(region.x), static_cast<double>(region.y),
                          static_cast<double>(region.width), static_cast<double>(region.height),
                          pixels(region.width), pixels(region.height));
}

/// Fraction of a box of the overview, in 0 to 1 of its sides, that shows something.
double insideOf(const io::RgbaImage& overview, double x0, double y0, double x1, double y1,
                bool leaveOutGlass) {
    const auto from = [](double at, int size) {
        return std::clamp(static_cast<int>(at * size), 0, size - 1);
    };
    const int left = from(x0, overview.width), top = from(y0, overview.height);
    const int right = std::max(
        left + 1, std::min(overview.width, static_cast<int>(std::ceil(x1 * overview.width))));
    const int bottom = std::max(
        top + 1, std::min(overview.height, static_cast<int>(std::ceil(y1 * overview.height))));
    int64_t inside = 0;
    for (int y = top; y < bottom; ++y)
        for (int x = left; x < right; ++x) {
            const uint8_t* p = overview.pixel(x, y);
            inside += p[3] && !(leaveOutGlass && isGlass(p));
        }
    return static_cast<double>(inside) / (static_cast<double>(right - left) * (bottom - top));
}

/// Squares of the region at the model's resolution, evenly spread over what shows something.
class Squares {
  public:
    Squares(const io::ColorSource& image, const ImageFacts& facts, const ModelFacts& model,
            int squarePx)
        : image_(image),
          region_(facts.region),
          squarePx_(squarePx),
          width_(squarePx * model.umPerPixel / facts.umX()),
          height_(squarePx * model.umPerPixel / facts.umY()) {}

    std::vector<io::RgbaImage> read(const std::optional<io::RgbaImage>& overview,
                                    bool leaveOutGlass) const {
        auto places = this->places();
        if (overview) {
            std::vector<Place> inside;
            for (const auto& p : places)
                if (insideOf(*overview, (p.x - static_cast<double>(region_.x)) / regionWidth(),
                             (p.y - static_cast<double>(region_.y)) / regionHeight(),
                             (p.x + width_ - static_cast<double>(region_.x)) / regionWidth(),
                             (p.y + height_ - static_cast<double>(region_.y)) / regionHeight(),
                             leaveOutGlass) >= kLeastInside)
                    inside.push_back(p);
            if (!inside.empty()) places = std::move(inside);
        }
        std::vector<io::RgbaImage> squares;
        const size_t count = std::min(places.size(), kMostSquares);
        for (size_t i = 0; i < count; ++i) {
            const Place& p = places[(2 * i + 1) * places.size() / (2 * count)];
            squares.push_back(image_.resample(p.x, p.y, width_, height_, squarePx_, squarePx_));
        }
        return squares;
    }

  private:
    struct Place {
        double x, y;  // top left, level-0 pixels
    };
    double regionWidth() const { return static_cast<double>(region_.width); }
    double regionHeight() const { return static_cast<double>(region_.height); }

    /// Squares side by side from the region's corner; where there are many, some of them.
    std::vector<Place> places() const {
        const auto along = [](double length, double side) {
            return std::max<int64_t>(1, static_cast<int64_t>(length / side));
        };
        const int64_t columns = along(regionWidth(), width_), rows = along(regionHeight(), height_);
        const int64_t stepX = (columns + kPlaces - 1) / kPlaces,
                      stepY = (rows + kPlaces - 1) / kPlaces;
        std::vector<Place> places;
        for (int64_t row = stepY / 2; row < rows; row += stepY)
            for (int64_t column = stepX / 2; column < columns; column += stepX)
                places.push_back(
                    {static_cast<double>(region_.x) + static_cast<double>(column) * width_,
                     static_cast<double>(region_.y) + static_cast<double>(row) * height_});
        return places;
    }

    const io::ColorSource& image_;
    const io::Rect region_;
    int squarePx_;
    double width_, height_;  // level-0 pixels
};

std::string rangeOf(double low, double high) {
    return io::formatFixed(low, 2) + " to " + io::formatFixed(high, 2);
}

/// The channel whose quantiles lie farthest from those of the training, in words.
std::string channelText(const PictureReference& reference, const ChannelHistogram& channels) {
    constexpr std::array<const char*, 3> names{"red", "green", "blue"};
    constexpr std::array<double, 5> fractions{0.05, 0.25, 0.5, 0.75, 0.95};
    size_t farthest = 0;
    double most = -1;
    for (size_t c = 0; c < 3; ++c) {
        double off = 0;
        for (size_t q = 0; q < fractions.size(); ++q)
            off += std::abs(channels.quantile(c, fractions[q]) - reference.quantiles(c)[q]);
        if (off > most) {
            most = off;
            farthest = c;
        }
    }
    return "From 5 to 95 % of its pixels, " + std::string(names[farthest]) + " goes from " +
           rangeOf(channels.quantile(farthest, 0.05), channels.quantile(farthest, 0.95)) +
           "; in the training from " +
           rangeOf(reference.quantiles(farthest)[0], reference.quantiles(farthest)[4]) + ".";
}

/// A model that records nothing: its normalisation tells the mean, which is better than nothing.
std::optional<Finding> farFromNormalisation(const ModelConfig& model,
                                            const ChannelHistogram& channels) {
    constexpr double kDeviations = 1.5;
    double most = 0;
    for (size_t c = 0; c < 3 && c < model.mean.size(); ++c)
        most = std::max(most, std::abs(channels.mean(c) - model.mean[c]) / model.std[c]);
    if (most <= kDeviations) return std::nullopt;
    return Finding{"colours", Severity::Warn,
                   "The colours lie " + io::formatFixed(most, 1) +
                       " deviations from those the model was trained with.",
                   "Another stain, sensor or band order may be the reason.",
                   "Look at the picture, and at the model's description."};
}

Finding coloursNotCompared(const ModelFacts& model) {
    return {"colours-unknown", Severity::Note,
            "The model " + model.name +
                " does not record what the pictures of its training look like, so that colours and "
                "texture could not be compared.",
            "",
            "Who has these pictures can add it: atlasscope eval --record-pictures --data PICTURES "
            "--model MODEL."};
}

}  // namespace

bool PictureLook::looksLikeTissue() const {
    return stained >= kStainedAlone || (stained >= kStainedWithGlass && glass >= kGlassOfSlides);
}

PictureLook lookOf(const io::RgbaImage& picture) {
    int64_t all = 0, glass = 0, rest = 0, stained = 0;
    for (size_t i = 0; i + 3 < picture.rgba.size(); i += 4) {
        const uint8_t* p = picture.rgba.data() + i;
        if (!p[3]) continue;
        ++all;
        if (isGlass(p)) {
            ++glass;
        } else if (std::max({p[0], p[1], p[2]}) > kBlackValue) {
            ++rest;
            stained += p[0] - p[1] >= kRedAboveGreen && p[2] - p[1] >= kBlueAboveGreen;
        }
    }
    PictureLook look;
    look.glass = static_cast<double>(glass) / static_cast<double>(std::max<int64_t>(1, all));
    look.stained = static_cast<double>(stained) / static_cast<double>(std::max<int64_t>(1, rest));
    // A few coloured pixels of a blank picture say nothing.
    if (static_cast<double>(rest) < 0.02 * static_cast<double>(all)) look.stained = 0;
    return look;
}

std::vector<Finding> judgePictures(const PictureReference& reference,
                                   const PictureComparison& pictures,
                                   const ChannelHistogram& channels) {
    if (pictures.squares == 0 || !pictures.isUnlike()) return {};
    return {{"colours", Severity::Warn,
             "The picture is unlike those that the model was trained on: " +
                 std::to_string(pictures.outside) + " of " + std::to_string(pictures.squares) +
                 " squares of it lie outside of their range.",
             "It is " + reference.differences(pictures.mean()) + ". " +
                 channelText(reference, channels),
             "Another subject, stain, sensor or band order may be the reason: look at the picture "
             "before you believe the answers."}};
}

std::vector<Finding> suitability(const io::ColorSource& image, const ModelConfig& model,
                                 const RunRequest& request) {
    ImageFacts facts = factsOf(image.info(), request);
    const ModelFacts made = factsOf(model);
    const auto refused = judge(made, facts, request.wholeImage);
    if (!refused.empty() && refused.front().severity == Severity::Refuse) return refused;
    // Of a network that is given the file's own numbers the colours say nothing.
    if (!storedBands(image.info(), model, image.settings()).empty())
        return judge(made, facts, request.wholeImage);
    const auto overview = overviewOf(image, facts.region);
    if (overview) facts.look = lookOf(*overview);
    auto findings = judge(made, facts, request.wholeImage);
    const auto reference = pictureReference(model);
    const int squarePx =
        reference ? reference->squarePx()
                  : static_cast<int>(std::min<int64_t>(kPictureSquarePx, model.patchSizePx));
    const bool leaveOutGlass = request.mask && facts.look && facts.look->looksLikeTissue();
    ChannelHistogram channels;
    PictureComparison pictures;
    for (const auto& square : Squares(image, facts, made, squarePx).read(overview, leaveOutGlass)) {
        const PictureView view{square.rgba.data(), square.width, square.height, 4};
        channels.add(view);
        if (reference) reference->compare(pictureSquares(view, squarePx, 1), pictures);
    }
    if (reference) {
        mergeFindings(findings, judgePictures(*reference, pictures, channels));
    } else {
        if (const auto finding = farFromNormalisation(model, channels))
            mergeFindings(findings, {*finding});
        mergeFindings(findings, {coloursNotCompared(made)});
    }
    return findings;
}

}  // namespace atlas::engine
