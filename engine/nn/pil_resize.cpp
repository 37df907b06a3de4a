// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/pil_resize.h"

#include <algorithm>
#include <cmath>

namespace atlas::engine {
namespace {

constexpr int kBits = 32 - 8 - 2;  // of the fractions of the coefficients

/// Where each output sample reads, and with which weights.
struct Taps {
    std::vector<int> first, count;
    std::vector<std::vector<int32_t>> weights;
};

Taps tapsOf(int from, int to) {
    Taps taps;
    const double scale = static_cast<double>(from) / to, filter = std::max(scale, 1.0);
    for (int i = 0; i < to; ++i) {
        const double centre = (i + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(centre - filter + 0.5)),
                  last = std::min(from, static_cast<int>(centre + filter + 0.5));
        std::vector<double> w;
        double sum = 0;
        for (int x = first; x < last; ++x) {
            w.push_back(std::max(0.0, 1 - std::abs((x - centre + 0.5) / filter)));
            sum += w.back();
        }
        std::vector<int32_t> fixed;
        for (double v : w)
            fixed.push_back(static_cast<int32_t>((sum != 0 ? v / sum : v) * (1 << kBits) + 0.5));
        taps.first.push_back(first);
        taps.count.push_back(last - first);
        taps.weights.push_back(std::move(fixed));
    }
    return taps;
}

uint8_t rounded(int32_t sum) {
    return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

}  // namespace

std::vector<uint8_t> resizeLikePillow(const uint8_t* pixels, int height, int width, int channels,
                                      int toHeight, int toWidth) {
    const auto at = [channels](int y, int x, int w) {
        return (static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)) *
               static_cast<size_t>(channels);
    };
    const auto bytes = [&](int h, int w) { return at(h, 0, w); };
    std::vector<uint8_t> across(pixels, pixels + bytes(height, width));
    if (toWidth != width) {
        const Taps taps = tapsOf(width, toWidth);
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
    if (toHeight == height) return across;
    const Taps taps = tapsOf(height, toHeight);
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

}  // namespace atlas::engine
