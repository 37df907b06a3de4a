// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device_stem.h"

#include <algorithm>
#include <cmath>
#include <future>

#include "engine/nn/atlas_cost.h"
#include "engine/nn/autocast.h"
#include "engine/nn/device.h"

namespace atlas::engine {
namespace {

constexpr int64_t kHalo = kStemHaloBefore + kStemHaloAfter;
constexpr int64_t kLeastTile = 8, kMostTile = 256;  // tokens of a side
constexpr int64_t kShareOfFree = 4;                 // of a device's memory, a tile
constexpr int64_t kMostBytes = int64_t{4} << 30;
constexpr int64_t kAnySide = 1024;  // for the arithmetic of a pixel

/// Maps that are alive at once, for a pixel, and as much again for the library's work.
int64_t bytesPerPixel(const AtlasConfig& c) {
    const int64_t half = 2 * c.stemFirstWidth / 4, quarter = 5 * c.stemWidth / 16;
    return 2 * static_cast<int64_t>(sizeof(float)) * (c.inChannels + std::max(half, quarter));
}

}  // namespace

DeviceStem::DeviceStem(const AtlasStem& stem, const AtlasConfig& config)
    : stem_(stem), config_(config), device_(stem.layers().first.weight.device()) {}

/// Of a side, without the halo.
int64_t DeviceStem::tileTokens(int64_t tileBytes) const {
    if (tileBytes == 0) tileBytes = std::min(freeMemory(device_) / kShareOfFree, kMostBytes);
    const double pixels =
        static_cast<double>(tileBytes) / static_cast<double>(bytesPerPixel(config_));
    return std::clamp<int64_t>(static_cast<int64_t>(std::sqrt(pixels)) / kStemTokenPx - kHalo,
                               kLeastTile, kMostTile);
}

double DeviceStem::flopsPerPixel() const {
    return atlasCost(config_, kAnySide).stem / static_cast<double>(kAnySide * kAnySide);
}

/// The rows of pixels, of some columns of an image, that the next tiles need; the rows after them
/// are read meanwhile.
class DeviceStem::Band {
  public:
    Band(const StemImage& image, int64_t channels, int64_t column, int64_t columns)
        : image_(image), channels_(channels), column_(column), columns_(columns) {}

    /// Reads on, so that the rows [first, end) are here; earlier ones are dropped. Goes on reading
    /// to `later`.
    void moveTo(int64_t first, int64_t end, int64_t later) {
        const auto row = static_cast<size_t>(columns_ * channels_);
        const size_t dropped = static_cast<size_t>(first - first_) * row;
        pixels_.erase(pixels_.begin(), pixels_.begin() + static_cast<std::ptrdiff_t>(
                                                             std::min(pixels_.size(), dropped)));
        if (end > end_) {
            if (!ahead_.valid()) readAhead(std::max(first, end_), end);
            const std::vector<float> fresh = ahead_.get();
            pixels_.insert(pixels_.end(), fresh.begin(), fresh.end());
        }
        first_ = first;
        end_ = end;
        if (later > end) readAhead(end, later);
    }

    /// [1, channels, rows, columns] of the rows that are here.
    at::Tensor columns(int64_t from, int64_t to) {
        const int64_t row = columns_ * channels_;
        return at::from_blob(
            pixels_.data() + (from - column_) * channels_, {1, channels_, end_ - first_, to - from},
            {(end_ - first_) * row, 1, row, channels_}, at::TensorOptions().dtype(at::kFloat));
    }

  private:
    void readAhead(int64_t from, int64_t to) {
        ahead_ = std::async(std::launch::async, [this, from, to] {
            const at::NoGradGuard noGradient;
            const int64_t row = columns_ * channels_;
            std::vector<float> rows(static_cast<size_t>((to - from) * row));
            image_.pixels(from, to - from, column_, columns_, rows.data(), row);
            return rows;
        });
    }

    const StemImage& image_;
    int64_t channels_, column_, columns_;
    std::vector<float> pixels_;
    int64_t first_ = 0, end_ = 0;  // rows of the image
    std::future<std::vector<float>> ahead_;
};

void DeviceStem::run(const StemImage& image, const StemOptions& options) const {
    const int64_t rows = (image.height + kStemTokenPx - 1) / kStemTokenPx,
                  columns = (image.width + kStemTokenPx - 1) / kStemTokenPx;
    const int64_t most = tileTokens(options.tileBytes);
    const int64_t tokenColumn =  // bytes of a row of tokens' pixels, a token wide
        kStemTokenPx * kStemTokenPx * config_.inChannels * static_cast<int64_t>(sizeof(float));
    int64_t step = std::min(most, (options.bandBytes / (tokenColumn * columns) - kHalo) / 3);
    if (options.bandRows > 0) step = options.bandRows / kStemTokenPx;
    step = std::max(step, std::min(kLeastTile, most));
    const int64_t panel =
        std::max(most, options.bandBytes / (tokenColumn * (3 * step + kHalo)) - kHalo);
    const auto isWanted = [&](int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
        if (!image.wanted) return true;
        for (int64_t r = r0; r < r1; ++r)
            for (int64_t c = c0; c < c1; ++c)
                if (image.wanted[r * columns + c]) return true;
        return false;
    };
    const auto beginOf = [](int64_t token) {
        return std::max<int64_t>(0, token - kStemHaloBefore) * kStemTokenPx;
    };
    const auto endOf = [](int64_t token, int64_t size) {
        return std::min(size, (token + kStemHaloAfter) * kStemTokenPx);
    };
    const at::Tensor nothing =
        at::zeros({1, 1, config_.dim}, at::TensorOptions().dtype(at::kFloat).device(device_));
    for (int64_t p0 = 0; p0 < columns; p0 += panel) {
        const int64_t p1 = std::min(columns, p0 + panel);
        Band band(image, config_.inChannels, beginOf(p0), endOf(p1, image.width) - beginOf(p0));
        for (int64_t r0 = image.firstTokenRow; r0 < rows; r0 += step) {
            const int64_t r1 = std::min(rows, r0 + step);
            band.moveTo(beginOf(r0), endOf(r1, image.height),
                        r1 < rows ? endOf(std::min(rows, r1 + step), image.height) : 0);
            for (int64_t c0 = p0; c0 < p1; c0 += most) {
                const int64_t c1 = std::min(p1, c0 + most);
                if (!isWanted(r0, r1, c0, c1)) {
                    image.tokens(r0, c0, nothing.expand({r1 - r0, c1 - c0, config_.dim}));
                    continue;
                }
                const Autocast autocast(options.bf16, device_.type());
                const at::Tensor tile =
                    band.columns(beginOf(c0), endOf(c1, image.width)).to(device_);
                const int64_t top = r0 - beginOf(r0) / kStemTokenPx,
                              left = c0 - beginOf(c0) / kStemTokenPx;
                image.tokens(r0, c0,
                             stem_.forward(tile, {}, nullptr)[0]
                                 .permute({1, 2, 0})
                                 .slice(0, top, top + r1 - r0)
                                 .slice(1, left, left + c1 - c0)
                                 .to(at::kFloat));
            }
        }
    }
}

}  // namespace atlas::engine
