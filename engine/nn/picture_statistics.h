// SPDX-License-Identifier: Apache-2.0
// What the pictures look like that a model was trained on, and how far another picture lies from
// them. Plain numbers, no tensors. All values are of 8-bit colour divided by 255.
//
// A picture is cut into squares of at most kPictureSquarePx model pixels, whatever the size of the
// contexts, so that contexts of several sizes compare. Of each square seven features are taken. The
// distance of a square is Mahalanobis' distance from the training squares: it sees a colour that
// no training square has even where each channel alone would do.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/nn/model_config.h"

namespace atlas::engine {

inline constexpr int kPictureSquarePx = 256;
inline constexpr size_t kPictureFeatures = 7;

/// Mean of red, green and blue; their standard deviations; the decimal logarithm of the mean
/// gradient of the brightness a pixel.
using PictureFeatures = std::array<double, kPictureFeatures>;

/// 8-bit pixels of 3 or 4 channels, row by row; a fourth channel is 0 where there is no data.
struct PictureView {
    const uint8_t* pixels = nullptr;
    int width = 0, height = 0, channels = 4;
};

/// The features of the squares of a picture, cut from its top left corner; squares of which less
/// than half holds data are left out. At most `most` squares, spread evenly over the picture.
std::vector<PictureFeatures> pictureSquares(const PictureView& picture, int squarePx, int most);

/// How often each of the 256 values occurs in red, green and blue.
struct ChannelHistogram {
    std::array<std::array<int64_t, 256>, 3> counts{};

    void add(const PictureView& picture, int step = 1);
    /// The value, 0 to 1, below which a fraction of the pixels lies; 0 where there are none.
    double quantile(size_t channel, double fraction) const;
    double mean(size_t channel) const;
    double deviation(size_t channel) const;
};

/// Squares of a picture against those of the training.
struct PictureComparison {
    int64_t squares = 0, outside = 0;  ///< outside: farther than the reference's limit
    PictureFeatures sum{};

    PictureFeatures mean() const;
    /// More than half of the squares lie outside.
    bool isUnlike() const { return 2 * outside > squares; }
};

/// The distribution of the training squares.
class PictureReference {
  public:
    /// Fewer squares than this are no distribution.
    static constexpr size_t kLeastSquares = 30;

    /// Throws std::invalid_argument where there are fewer than kLeastSquares.
    PictureReference(const std::vector<PictureFeatures>& squares, const ChannelHistogram& channels,
                     int squarePx, std::string source);

    /// The block that toJson() made. Throws std::exception where it is damaged.
    static PictureReference fromJson(const nlohmann::json& block);
    nlohmann::json toJson() const;

    int squarePx() const { return squarePx_; }
    double distance(const PictureFeatures& square) const;
    /// A distance that 99 % of the training squares do not reach, and a tenth more.
    double limit() const { return limit_; }
    void compare(const std::vector<PictureFeatures>& squares, PictureComparison& into) const;
    /// "brighter, more magenta and smoother": how a picture differs from the training, the greatest
    /// differences first, each with its size in standard deviations.
    std::string differences(const PictureFeatures& mean) const;
    /// 5, 25, 50, 75 and 95 % of the training pixels' values in a channel.
    const std::array<double, 5>& quantiles(size_t channel) const { return quantiles_[channel]; }

  private:
    PictureReference() = default;
    void factorise();

    int squarePx_ = kPictureSquarePx;
    int64_t squares_ = 0;
    std::string source_;
    PictureFeatures mean_{};
    std::array<PictureFeatures, kPictureFeatures> covariance_{}, lower_{};  ///< and its factor
    double limit_ = 0;
    std::array<double, 3> channelMean_{}, channelDeviation_{};
    std::array<std::array<double, 5>, 3> quantiles_{};
};

/// What the model's config.json records of the pictures of its training; nothing where it records
/// none, or a block that makes no sense.
std::optional<PictureReference> pictureReference(const ModelConfig& model);

/// Writes the block into `dir`/config.json and leaves everything else there as it is. Throws
/// ModelError with path and cause; a model that is an .onnx file alone has no config.json.
void recordPictures(const std::filesystem::path& dir, const PictureReference& reference);

}  // namespace atlas::engine
