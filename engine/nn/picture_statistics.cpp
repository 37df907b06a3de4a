// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/picture_statistics.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include "engine/nn/model_error.h"
#include "io/numbers.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

constexpr double kLeastData = 0.5;       // of a square
constexpr double kGradientFloor = 1e-4;  // a fortieth of a grey value: below, all is flat
constexpr double kLimitQuantile = 0.99, kLimitMargin = 1.1;
constexpr double kClearDifference = 2;  // standard deviations that are worth a word
constexpr size_t kMostWords = 3;
constexpr std::array<double, 5> kQuantiles{0.05, 0.25, 0.5, 0.75, 0.95};
// Added to the deviations of the features, so that grey pictures and few classes still have a
// covariance that can be inverted. About a grey value of 255.
constexpr PictureFeatures kFloor{0.005, 0.005, 0.005, 0.005, 0.005, 0.005, 0.02};

/// Sums of one square.
class SquareSums {
  public:
    SquareSums(const PictureView& picture, int x0, int y0, int width, int height)
        : picture_(picture), x0_(x0), y0_(y0), width_(width), height_(height) {
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) add(x, y);
    }
    bool hasData() const {
        return static_cast<double>(count_) >=
               kLeastData * static_cast<double>(width_) * static_cast<double>(height_);
    }
    PictureFeatures features() const {
        PictureFeatures f{};
        const auto n = static_cast<double>(count_);
        for (size_t c = 0; c < 3; ++c) {
            f[c] = sum_[c] / n;
            f[3 + c] = std::sqrt(std::max(0.0, squares_[c] / n - f[c] * f[c]));
        }
        const double gradient = pairs_ ? gradient_ / static_cast<double>(pairs_) : 0;
        f[6] = std::log10(gradient + kGradientFloor);
        return f;
    }

  private:
    const uint8_t* at(int x, int y) const {
        return picture_.pixels +
               (static_cast<size_t>(y0_ + y) * static_cast<size_t>(picture_.width) +
                static_cast<size_t>(x0_ + x)) *
                   static_cast<size_t>(picture_.channels);
    }
    bool valid(const uint8_t* p) const { return picture_.channels < 4 || p[3]; }
    static double brightness(const uint8_t* p) {
        return (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]) / 255;
    }
    void add(int x, int y) {
        const uint8_t* p = at(x, y);
        if (!valid(p)) return;
        ++count_;
        for (size_t c = 0; c < 3; ++c) {
            const double value = p[c] / 255.0;
            sum_[c] += value;
            squares_[c] += value * value;
        }
        if (x + 1 >= width_ || y + 1 >= height_) return;
        const uint8_t *right = at(x + 1, y), *below = at(x, y + 1);
        if (!valid(right) || !valid(below)) return;
        const double here = brightness(p);
        gradient_ += std::hypot(brightness(right) - here, brightness(below) - here);
        ++pairs_;
    }

    const PictureView& picture_;
    int x0_, y0_, width_, height_;
    int64_t count_ = 0, pairs_ = 0;
    std::array<double, 3> sum_{}, squares_{};
    double gradient_ = 0;
};

/// A property that people have words for: weights of the features, and the words for more and less.
struct Property {
    PictureFeatures weights;
    const char *more, *less;
};
constexpr double kThird = 1.0 / 3;
constexpr std::array<Property, 5> kProperties{{
    {{kThird, kThird, kThird, 0, 0, 0, 0}, "brighter", "darker"},
    {{0.5, -1, 0.5, 0, 0, 0, 0}, "more magenta", "greener"},
    {{1, 0, -1, 0, 0, 0, 0}, "redder", "bluer"},
    {{0, 0, 0, kThird, kThird, kThird, 0}, "richer in contrast", "poorer in contrast"},
    {{0, 0, 0, 0, 0, 0, 1}, "richer in detail", "smoother"},
}};

double dot(const PictureFeatures& a, const PictureFeatures& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

std::vector<PictureFeatures> pictureSquares(const PictureView& picture, int squarePx, int most) {
    std::vector<PictureFeatures> found;
    const int width = std::min(squarePx, picture.width),
              height = std::min(squarePx, picture.height);
    if (width < 1 || height < 1 || most < 1) return found;
    const int64_t columns = picture.width / width, rows = picture.height / height;
    const int64_t all = columns * rows, count = std::min<int64_t>(all, most);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t place = (2 * i + 1) * all / (2 * count);
        const SquareSums sums(picture, static_cast<int>(place % columns) * width,
                              static_cast<int>(place / columns) * height, width, height);
        if (sums.hasData()) found.push_back(sums.features());
    }
    return found;
}

void ChannelHistogram::add(const PictureView& picture, int step) {
    const auto channels = static_cast<size_t>(picture.channels);
    const size_t size = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
    for (size_t i = 0; i < size; i += static_cast<size_t>(step)) {
        const uint8_t* p = picture.pixels + i * channels;
        if (channels == 4 && !p[3]) continue;
        for (size_t c = 0; c < 3; ++c) ++counts[c][p[c]];
    }
}

double ChannelHistogram::quantile(size_t channel, double fraction) const {
    const auto& values = counts[channel];
    const auto all = std::accumulate(values.begin(), values.end(), int64_t{0});
    int64_t seen = 0;
    for (size_t v = 0; v < values.size(); ++v) {
        seen += values[v];
        if (all && static_cast<double>(seen) >= fraction * static_cast<double>(all))
            return static_cast<double>(v) / 255;
    }
    return 0;
}

double ChannelHistogram::mean(size_t channel) const {
    double sum = 0, all = 0;
    for (size_t v = 0; v < 256; ++v) {
        sum += static_cast<double>(counts[channel][v]) * static_cast<double>(v) / 255;
        all += static_cast<double>(counts[channel][v]);
    }
    return all > 0 ? sum / all : 0;
}

double ChannelHistogram::deviation(size_t channel) const {
    const double middle = mean(channel);
    double sum = 0, all = 0;
    for (size_t v = 0; v < 256; ++v) {
        const double off = static_cast<double>(v) / 255 - middle;
        sum += static_cast<double>(counts[channel][v]) * off * off;
        all += static_cast<double>(counts[channel][v]);
    }
    return all > 0 ? std::sqrt(sum / all) : 0;
}

PictureFeatures PictureComparison::mean() const {
    PictureFeatures result = sum;
    for (double& value : result) value /= std::max<double>(1, static_cast<double>(squares));
    return result;
}

PictureReference::PictureReference(const std::vector<PictureFeatures>& squares,
                                   const ChannelHistogram& channels, int squarePx,
                                   std::string source)
    : squarePx_(squarePx),
      squares_(static_cast<int64_t>(squares.size())),
      source_(std::move(source)) {
    if (squares.size() < kLeastSquares)
        throw std::invalid_argument("there are " + std::to_string(squares.size()) +
                                    " squares of pictures; at least " +
                                    std::to_string(kLeastSquares) + " are needed");
    const auto n = static_cast<double>(squares.size());
    for (const auto& square : squares)
        for (size_t i = 0; i < kPictureFeatures; ++i) mean_[i] += square[i] / n;
    for (const auto& square : squares)
        for (size_t i = 0; i < kPictureFeatures; ++i)
            for (size_t j = 0; j < kPictureFeatures; ++j)
                covariance_[i][j] += (square[i] - mean_[i]) * (square[j] - mean_[j]) / (n - 1);
    for (size_t i = 0; i < kPictureFeatures; ++i) covariance_[i][i] += kFloor[i] * kFloor[i];
    factorise();
    std::vector<double> distances;
    for (const auto& square : squares) distances.push_back(distance(square));
    const auto place = distances.begin() + static_cast<std::ptrdiff_t>(kLimitQuantile * (n - 1));
    std::nth_element(distances.begin(), place, distances.end());
    limit_ = kLimitMargin * *place;
    for (size_t c = 0; c < 3; ++c) {
        channelMean_[c] = channels.mean(c);
        channelDeviation_[c] = channels.deviation(c);
        for (size_t q = 0; q < kQuantiles.size(); ++q)
            quantiles_[c][q] = channels.quantile(c, kQuantiles[q]);
    }
}

/// Cholesky: covariance_ = lower_ lower_^T.
void PictureReference::factorise() {
    lower_ = {};
    for (size_t i = 0; i < kPictureFeatures; ++i)
        for (size_t j = 0; j <= i; ++j) {
            double sum = covariance_[i][j];
            for (size_t k = 0; k < j; ++k) sum -= lower_[i][k] * lower_[j][k];
            if (i != j) {
                lower_[i][j] = sum / lower_[j][j];
            } else {
                if (!(sum > 0) || !std::isfinite(sum))
                    throw std::invalid_argument("the covariance is not positive");
                lower_[i][i] = std::sqrt(sum);
            }
        }
}

double PictureReference::distance(const PictureFeatures& square) const {
    PictureFeatures solved{};
    for (size_t i = 0; i < kPictureFeatures; ++i) {
        double sum = square[i] - mean_[i];
        for (size_t k = 0; k < i; ++k) sum -= lower_[i][k] * solved[k];
        solved[i] = sum / lower_[i][i];
    }
    return std::sqrt(dot(solved, solved));
}

void PictureReference::compare(const std::vector<PictureFeatures>& squares,
                               PictureComparison& into) const {
    for (const auto& square : squares) {
        ++into.squares;
        into.outside += distance(square) > limit_;
        for (size_t i = 0; i < kPictureFeatures; ++i) into.sum[i] += square[i];
    }
}

std::string PictureReference::differences(const PictureFeatures& mean) const {
    struct Word {
        double size;
        const char* text;
    };
    std::vector<Word> words;
    for (const auto& property : kProperties) {
        double variance = 0;
        for (size_t i = 0; i < kPictureFeatures; ++i)
            variance += property.weights[i] * dot(covariance_[i], property.weights);
        const double size =
            (dot(property.weights, mean) - dot(property.weights, mean_)) / std::sqrt(variance);
        words.push_back({std::abs(size), size > 0 ? property.more : property.less});
    }
    std::sort(words.begin(), words.end(),
              [](const Word& a, const Word& b) { return a.size > b.size; });
    size_t count = 1;
    while (count < kMostWords && words[count].size >= kClearDifference) ++count;
    std::string text;
    for (size_t i = 0; i < count; ++i)
        text += (i == 0           ? ""
                 : i + 1 == count ? " and "
                                  : ", ") +
                std::string(words[i].text) + " (by " + io::formatFixed(words[i].size, 1) +
                " standard deviations)";
    return text;
}

json PictureReference::toJson() const {
    json channels = json::object();
    const std::array<const char*, 3> names{"red", "green", "blue"};
    for (size_t c = 0; c < 3; ++c)
        channels[names[c]] = {{"mean", channelMean_[c]},
                              {"deviation", channelDeviation_[c]},
                              {"quantiles", quantiles_[c]}};
    return {{"version", 1},
            {"source", source_},
            {"square_px", squarePx_},
            {"squares", squares_},
            {"features",
             {"mean red", "mean green", "mean blue", "deviation red", "deviation green",
              "deviation blue", "log10 mean gradient of brightness"}},
            {"mean", mean_},
            {"covariance", covariance_},
            {"distance_limit", limit_},
            {"quantile_fractions", kQuantiles},
            {"channels", channels}};
}

PictureReference PictureReference::fromJson(const json& block) {
    if (block.at("version") != 1) throw std::invalid_argument("an unknown version");
    PictureReference reference;
    reference.source_ = block.at("source").get<std::string>();
    reference.squarePx_ = block.at("square_px").get<int>();
    reference.squares_ = block.at("squares").get<int64_t>();
    reference.mean_ = block.at("mean").get<PictureFeatures>();
    reference.covariance_ = block.at("covariance").get<decltype(reference.covariance_)>();
    reference.limit_ = block.at("distance_limit").get<double>();
    const std::array<const char*, 3> names{"red", "green", "blue"};
    for (size_t c = 0; c < 3; ++c) {
        const json& channel = block.at("channels").at(names[c]);
        reference.channelMean_[c] = channel.at("mean").get<double>();
        reference.channelDeviation_[c] = channel.at("deviation").get<double>();
        reference.quantiles_[c] = channel.at("quantiles").get<std::array<double, 5>>();
    }
    if (reference.squarePx_ < 1 || reference.squarePx_ > kPictureSquarePx ||
        !(reference.limit_ > 0) || !std::isfinite(reference.limit_))
        throw std::invalid_argument("sizes that make no sense");
    for (double value : reference.mean_)
        if (!std::isfinite(value)) throw std::invalid_argument("a mean that is no number");
    reference.factorise();
    return reference;
}

std::optional<PictureReference> pictureReference(const ModelConfig& model) {
    const json record = json::parse(model.trainingRecord, nullptr, false);
    if (!record.is_object() || !record.contains("pictures")) return std::nullopt;
    try {
        return PictureReference::fromJson(record["pictures"]);
    } catch (const std::exception&) {
        return std::nullopt;
    }
}

void recordPictures(const std::filesystem::path& dir, const PictureReference& reference) {
    const auto path = dir / "config.json";
    std::ifstream file(path);
    if (!file)
        throw ModelError(path.string() +
                         ": cannot be opened; the pictures of the training are recorded there");
    json text = json::parse(file, nullptr, false);
    if (!text.is_object()) throw ModelError(path.string() + ": is no JSON object");
    json& ours = text.contains("atlas") ? text["atlas"] : text;
    ours["training_record"]["pictures"] = reference.toJson();
    const auto temporary = dir / "config.json.tmp";
    std::ofstream out(temporary);
    out << text.dump(2) << '\n';
    out.close();
    if (!out) throw ModelError(temporary.string() + ": cannot be written");
    std::filesystem::rename(temporary, path);
}

}  // namespace atlas::engine
