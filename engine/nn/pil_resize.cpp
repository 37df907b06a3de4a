// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/pil_resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace atlas::engine {
namespace {

constexpr int kBits = 32 - 8 - 2;  // of the fractions of the coefficients

/// Where each output sample reads, and with which weights.
struct Taps {
    std::vector<int> first, count;
    std::vector<std::vector<int32_t>> weights;
};

double sinc(double x) {
    return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi);
}

double weightAt(PillowFilter filter, double x) {
    if (filter == PillowFilter::Bilinear) return std::max(0.0, 1 - std::abs(x));
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

/// `length`: how much of the `from` samples the output covers; it may end within the last one.
Taps tapsOf(int from, double length, int to, PillowFilter filter) {
    Taps taps;
    const double scale = length / to, stretch = std::max(scale, 1.0);
    const double support = (filter == PillowFilter::Lanczos ? 3 : 1) * stretch;
    for (int i = 0; i < to; ++i) {
        const double centre = (i + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(centre - support + 0.5)),
                  last = std::min(from, static_cast<int>(centre + support + 0.5));
        std::vector<double> w;
        double sum = 0;
        for (int x = first; x < last; ++x) {
            w.push_back(weightAt(filter, (x - centre + 0.5) / stretch));
            sum += w.back();
        }
        std::vector<int32_t> fixed;
        for (double v : w) {
            const double share = (sum != 0 ? v / sum : v) * (1 << kBits);
            fixed.push_back(static_cast<int32_t>(share + (share < 0 ? -0.5 : 0.5)));
        }
        taps.first.push_back(first);
        taps.count.push_back(last - first);
        taps.weights.push_back(std::move(fixed));
    }
    return taps;
}

uint8_t rounded(int32_t sum) {
    return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

/// As resizeLikePillow(), of the part [0, partHeight) x [0, partWidth).
std::vector<uint8_t> resizePart(const uint8_t* pixels, int height, int width, int channels,
                                double partHeight, double partWidth, int toHeight, int toWidth,
                                PillowFilter filter) {
    const auto at = [channels](int y, int x, int w) {
        return (static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)) *
               static_cast<size_t>(channels);
    };
    const auto bytes = [&](int h, int w) { return at(h, 0, w); };
    std::vector<uint8_t> across(pixels, pixels + bytes(height, width));
    if (toWidth != width || partWidth != width) {
        const Taps taps = tapsOf(width, partWidth, toWidth, filter);
        across.assign(bytes(height, toWidth), 0);
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < toWidth; ++x)
                for (int c = 0; c < channels; ++c) {
                    const auto i = static_cast<size_t>(x);
                    int32_t sum = 1 << (kBits - 1);
                    for (int k = 0; k < taps.count[i]; ++k)
                        sum += taps.weights[i][static_cast<size_t>(k)] *
                               pixels[at(y, taps.first[i] + k, width) + static_cast<size_t>(c)];
                    across[at(y, x, toWidth) + static_cast<size_t>(c)] = rounded(sum);
                }
    }
    if (toHeight == height && partHeight == height) return across;
    const Taps taps = tapsOf(height, partHeight, toHeight, filter);
    std::vector<uint8_t> result(bytes(toHeight, toWidth));
    for (int y = 0; y < toHeight; ++y)
        for (int x = 0; x < toWidth; ++x)
            for (int c = 0; c < channels; ++c) {
                const auto i = static_cast<size_t>(y);
                int32_t sum = 1 << (kBits - 1);
                for (int k = 0; k < taps.count[i]; ++k)
                    sum += taps.weights[i][static_cast<size_t>(k)] *
                           across[at(taps.first[i] + k, x, toWidth) + static_cast<size_t>(c)];
                result[at(y, x, toWidth) + static_cast<size_t>(c)] = rounded(sum);
            }
    return result;
}

/// Means of boxes of `across` x `down` RGB pixels, smaller ones at the right and lower border.
std::vector<uint8_t> reduced(const std::vector<uint8_t>& rgb, int height, int width, int down,
                             int across) {
    const int rows = (height + down - 1) / down, columns = (width + across - 1) / across;
    std::vector<uint8_t> result(static_cast<size_t>(rows) * static_cast<size_t>(columns) * 3);
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) {
            const int bottom = std::min(height, (row + 1) * down),
                      right = std::min(width, (column + 1) * across);
            const auto count =
                static_cast<uint64_t>((bottom - row * down) * (right - column * across));
            for (size_t c = 0; c < 3; ++c) {
                uint64_t sum = count / 2;
                for (int y = row * down; y < bottom; ++y)
                    for (int x = column * across; x < right; ++x)
                        sum += rgb[(static_cast<size_t>(y) * static_cast<size_t>(width) +
                                    static_cast<size_t>(x)) *
                                       3 +
                                   c];
                result[(static_cast<size_t>(row) * static_cast<size_t>(columns) +
                        static_cast<size_t>(column)) *
                           3 +
                       c] = static_cast<uint8_t>(sum / count);
            }
        }
    return result;
}

/// The whole number beside `length` that keeps the shape better; `error` says how far one is off.
template <typename Error>
int nearestSide(double length, const Error& error) {
    const double low = std::floor(length), high = std::ceil(length);
    return std::max(1, static_cast<int>(error(high) < error(low) ? high : low));
}

}  // namespace

std::vector<uint8_t> resizeLikePillow(const uint8_t* pixels, int height, int width, int channels,
                                      int toHeight, int toWidth, PillowFilter filter) {
    return resizePart(pixels, height, width, channels, height, width, toHeight, toWidth, filter);
}

std::vector<uint8_t> thumbnailLikePillow(std::vector<uint8_t> rgb, int& height, int& width,
                                         int side) {
    if (width <= side && height <= side) return rgb;
    const double aspect = static_cast<double>(width) / height;
    int toWidth = side, toHeight = side;
    if (aspect <= 1)
        toWidth = nearestSide(side * aspect, [&](double n) { return std::abs(aspect - n / side); });
    else
        toHeight = nearestSide(side / aspect,
                               [&](double n) { return n == 0 ? 0 : std::abs(aspect - side / n); });
    // Much too large ones are averaged first, to twice the wanted size or more.
    const int across = std::max(1, width / toWidth / 2), down = std::max(1, height / toHeight / 2);
    const double partHeight = static_cast<double>(height) / down,
                 partWidth = static_cast<double>(width) / across;
    if (across > 1 || down > 1) {
        rgb = reduced(rgb, height, width, down, across);
        height = (height + down - 1) / down;
        width = (width + across - 1) / across;
    }
    auto small = resizePart(rgb.data(), height, width, 3, partHeight, partWidth, toHeight, toWidth,
                            PillowFilter::Lanczos);
    height = toHeight;
    width = toWidth;
    return small;
}

}  // namespace atlas::engine
