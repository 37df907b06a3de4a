// SPDX-License-Identifier: Apache-2.0
#include "engine/training/augment.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace atlas::engine {
namespace {

cv::Mat asMat(const io::RasterBlock& image) {
    return {image.height, image.width, CV_8UC3, const_cast<uint8_t*>(image.u8.data())};
}

io::RasterBlock asBlock(const cv::Mat& image) {
    io::RasterBlock block(image.cols, image.rows, 3, false);
    image.copyTo(cv::Mat(image.rows, image.cols, CV_8UC3, block.u8.data()));
    std::fill(block.valid.begin(), block.valid.end(), uint8_t{1});
    return block;
}

cv::Mat resized(const cv::Mat& image, int side) {
    if (image.cols == side && image.rows == side) return image.clone();
    cv::Mat out;
    const bool shrinks = image.cols > side && image.rows > side;
    cv::resize(image, out, {side, side}, 0, 0, shrinks ? cv::INTER_AREA : cv::INTER_LINEAR);
    return out;
}

double between(std::mt19937_64& random, double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
}

cv::Rect randomCrop(const cv::Size& size, const AugmentOptions& options, std::mt19937_64& random) {
    for (int attempt = 0; attempt < 10; ++attempt) {
        const double area = size.area() * between(random, options.cropAreaMin, options.cropAreaMax);
        const double bound = std::log(options.cropAspect);
        const double aspect = std::exp(between(random, -bound, bound));
        const int w = static_cast<int>(std::lround(std::sqrt(area * aspect)));
        const int h = static_cast<int>(std::lround(std::sqrt(area / aspect)));
        if (w < 1 || h < 1 || w > size.width || h > size.height) continue;
        const int x = static_cast<int>(random() % static_cast<uint64_t>(size.width - w + 1));
        const int y = static_cast<int>(random() % static_cast<uint64_t>(size.height - h + 1));
        return {x, y, w, h};
    }
    return {0, 0, size.width, size.height};
}

void adjustColors(cv::Mat& image, const AugmentOptions& options, std::mt19937_64& random) {
    const double brightness = between(random, options.brightnessMin, options.brightnessMax);
    const double contrast = between(random, options.contrastMin, options.contrastMax);
    const double saturation = between(random, options.saturationMin, options.saturationMax);
    const cv::Scalar average = cv::mean(image) * brightness;
    const double middle = (average[0] + average[1] + average[2]) / 3;
    image.convertTo(image, -1, brightness * contrast, middle * (1 - contrast));
    if (saturation == 1) return;
    cv::Mat grey;
    cv::cvtColor(image, grey, cv::COLOR_RGB2GRAY);
    cv::cvtColor(grey, grey, cv::COLOR_GRAY2RGB);
    cv::addWeighted(image, saturation, grey, 1 - saturation, 0, image);
}

}  // namespace

io::RasterBlock resizeTo(const io::RasterBlock& image, int side) {
    return asBlock(resized(asMat(image), side));
}

io::RasterBlock augment(const io::RasterBlock& source, int side, const AugmentOptions& options,
                        std::mt19937_64& random) {
    cv::Mat image = asMat(source);
    if (options.cropAreaMin < 1) image = image(randomCrop(image.size(), options, random));
    image = resized(image, side);
    if (options.flips && random() % 2) cv::flip(image, image, 1);
    if (options.flips && random() % 2) cv::flip(image, image, 0);
    if (options.quarterTurns && random() % 2) cv::rotate(image, image, cv::ROTATE_90_CLOCKWISE);
    adjustColors(image, options, random);
    if (options.erase > 0 && between(random, 0, 1) < options.erase) {
        AugmentOptions box;
        box.cropAreaMin = 0.02;
        box.cropAreaMax = 0.2;
        box.cropAspect = 3;
        image(randomCrop(image.size(), box, random)).setTo(cv::mean(image));
    }
    return asBlock(image);
}

void normalise(const io::RasterBlock& image, const std::vector<float>& mean,
               const std::vector<float>& std, float* out) {
    const size_t pixels = static_cast<size_t>(image.width) * image.height;
    for (size_t c = 0; c < 3; ++c) {
        const float scale = 1 / (255 * std[c]), shift = -mean[c] / std[c];
        for (size_t i = 0; i < pixels; ++i)
            out[c * pixels + i] = static_cast<float>(image.u8[i * 3 + c]) * scale + shift;
    }
}

}  // namespace atlas::engine
