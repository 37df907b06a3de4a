// SPDX-License-Identifier: Apache-2.0
#include "io/color_source.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "io/ascii.h"

namespace atlas::io {
namespace {

constexpr int64_t kCoarsestPx = 512;        // levels are made until the image is no larger
constexpr int64_t kStretchSamplePx = 1024;  // side of the sample that a stretch is measured on
constexpr int64_t kMaxResamplePx = 16384;

int bandOf(const ImageInfo& info, BandRole role) {
    for (size_t i = 0; i < info.bands.size(); ++i)
        if (info.bands[i].role == role) return static_cast<int>(i);
    return -1;
}

/// Value c of a pixel as it is shown: a band, or the index of the first two.
double shownValue(const RasterBlock& block, int x, int y, int c, BandMixing mixing) {
    if (mixing == BandMixing::Color) return block.sample(x, y, c);
    const double a = block.sample(x, y, 0), b = block.sample(x, y, 1);
    return (a - b) / (a + b);  // not a number where both are 0
}

}  // namespace

std::array<uint8_t, 3> indexColor(double share) {
    constexpr std::array<std::array<double, 3>, 7> kAnchors{{{140, 81, 10},
                                                             {216, 179, 101},
                                                             {246, 232, 195},
                                                             {245, 245, 245},
                                                             {199, 234, 229},
                                                             {90, 180, 172},
                                                             {1, 102, 94}}};
    const double at = std::clamp(share, 0.0, 1.0) * (kAnchors.size() - 1);
    const auto i = std::min(static_cast<size_t>(at), kAnchors.size() - 2);
    const double part = at - static_cast<double>(i);
    std::array<uint8_t, 3> color{};
    for (size_t c = 0; c < 3; ++c)
        color[c] = static_cast<uint8_t>(
            std::lround(kAnchors[i][c] * (1 - part) + kAnchors[i + 1][c] * part));
    return color;
}

std::optional<std::array<int, 2>> vegetationBands(const ImageInfo& info) {
    int infrared = bandOf(info, BandRole::NearInfrared), red = bandOf(info, BandRole::Red);
    for (size_t i = 0; i < info.bands.size(); ++i) {
        const std::string name = lowerAscii(info.bands[i].name);
        const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
        if (infrared < 0 && (has("nir") || has("near infrared") || name == "b08" || name == "b8"))
            infrared = static_cast<int>(i);
        if (red < 0 && ((has("red") && !has("infrared") && !has("edge")) || name == "b04"))
            red = static_cast<int>(i);
    }
    if (infrared < 0 || red < 0) return {};
    return std::array<int, 2>{infrared, red};
}

DisplaySettings defaultDisplay(const ImageInfo& info) {
    DisplaySettings settings;
    const int red = bandOf(info, BandRole::Red), green = bandOf(info, BandRole::Green),
              blue = bandOf(info, BandRole::Blue);
    size_t data = info.bands.size();
    if (data > 1 && info.bands.back().role == BandRole::Alpha) --data;
    if (red >= 0 && green >= 0 && blue >= 0)
        settings.bands = {red, green, blue};
    else if (data >= 3)
        settings.bands = {0, 1, 2};
    else
        settings.bands = {0, 0, 0};
    if (info.type != SampleType::UInt8) settings.stretch = Stretch::Percentile;
    return settings;
}

ColorSource::ColorSource(SourcePtr source, DisplaySettings settings,
                         std::shared_ptr<TileCache> cache)
    : source_(std::move(source)),
      settings_(settings),
      cache_(std::move(cache)),
      key_(TileCache::newSource()),
      levels_(source_->info().levels),
      fileLevels_(levels_.size()) {
    for (int band : settings_.bands)
        if (band < 0 || band >= static_cast<int>(info().bands.size()))
            throw ReadError(info().path + ": there is no band " + std::to_string(band + 1) +
                            "; the image has " + std::to_string(info().bands.size()));
    while (std::max(levels_.back().width, levels_.back().height) > kCoarsestPx) {
        Level half = levels_.back();
        half.width = (half.width + 1) / 2;
        half.height = (half.height + 1) / 2;
        half.downsample *= 2;
        levels_.push_back(half);
    }
    if (settings_.stretch == Stretch::Percentile || settings_.stretch == Stretch::MinMax)
        measureStretch();
}

ColorSource::~ColorSource() {
    cache_->drop(key_);
}

std::vector<int> ColorSource::bandsRead() const {
    return {settings_.bands.begin(), settings_.bands.end()};
}

void ColorSource::measureStretch() {
    // Of an area: the level that gives about a sample's worth of it.
    Rect area = intersect(settings_.stretchArea, {0, 0, levels_[0].width, levels_[0].height});
    size_t level = fileLevels_ - 1;
    if (!area.empty()) {
        const double wanted =
            static_cast<double>(std::max(area.width, area.height)) / kStretchSamplePx;
        level = std::min(fileLevels_ - 1, static_cast<size_t>(levelFor(std::max(1.0, wanted))));
    }
    const auto& coarse = levels_[level];
    if (area.empty()) {
        area = {0, 0, coarse.width, coarse.height};
    } else {
        const auto down = [&](int64_t v) {
            return static_cast<int64_t>(static_cast<double>(v) / coarse.downsample);
        };
        area = intersect({down(area.x), down(area.y), std::max<int64_t>(1, down(area.width)),
                          std::max<int64_t>(1, down(area.height))},
                         {0, 0, coarse.width, coarse.height});
    }
    // Where that is large, a grid of patches of it stands for the whole.
    const int parts = area.width * area.height <= kStretchSamplePx * kStretchSamplePx ? 1 : 4;
    const int64_t side = kStretchSamplePx / parts;
    const int channels = settings_.mixing == BandMixing::Index ? 1 : 3;
    std::array<std::vector<float>, 3> values;
    for (int j = 0; j < parts; ++j)
        for (int i = 0; i < parts; ++i) {
            Rect rect = area;
            if (parts > 1)
                rect = intersect(
                    area, {area.x + std::max<int64_t>(0, area.width - side) * i / (parts - 1),
                           area.y + std::max<int64_t>(0, area.height - side) * j / (parts - 1),
                           side, side});
            if (rect.empty()) continue;
            const RasterBlock block =
                source_->readRegion(static_cast<int>(level), rect, bandsRead());
            for (int y = 0; y < block.height; ++y)
                for (int x = 0; x < block.width; ++x) {
                    if (!block.valid[static_cast<size_t>(y) * block.width + x]) continue;
                    for (int b = 0; b < channels; ++b) {
                        const double value = shownValue(block, x, y, b, settings_.mixing);
                        if (std::isfinite(value))
                            values[static_cast<size_t>(b)].push_back(static_cast<float>(value));
                    }
                }
        }
    for (size_t b = 0; b < static_cast<size_t>(channels); ++b) {
        auto& list = values[b];
        if (list.empty()) {
            settings_.range[b] = {0, 1};
            continue;
        }
        const bool all = settings_.stretch == Stretch::MinMax;
        const auto quantile = [&](double percent) {
            const auto at =
                static_cast<size_t>(percent / 100 * static_cast<double>(list.size() - 1) + 0.5);
            std::nth_element(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(at),
                             list.end());
            return static_cast<double>(list[at]);
        };
        settings_.range[b] = {quantile(all ? 0 : settings_.lowPercent),
                              quantile(all ? 100 : settings_.highPercent)};
    }
}

int ColorSource::levelFor(double downsample) const {
    int best = 0;
    for (size_t i = 0; i < levels_.size(); ++i)
        if (levels_[i].downsample <= downsample * 1.001) best = static_cast<int>(i);
    return best;
}

int64_t ColorSource::columns(int level) const {
    return (levels_[static_cast<size_t>(level)].width + kTilePx - 1) / kTilePx;
}
int64_t ColorSource::rows(int level) const {
    return (levels_[static_cast<size_t>(level)].height + kTilePx - 1) / kTilePx;
}

TilePtr ColorSource::tile(int level, int64_t column, int64_t row) const {
    return cache_->get({key_, level, column, row}, [&] { return load(level, column, row); });
}

TilePtr ColorSource::cachedTile(int level, int64_t column, int64_t row) const {
    return cache_->peek({key_, level, column, row});
}

TilePtr ColorSource::load(int level, int64_t column, int64_t row) const {
    if (level < 0 || level >= static_cast<int>(levels_.size()) || column < 0 || row < 0 ||
        column >= columns(level) || row >= rows(level))
        throw ReadError(info().path + ": there is no tile " + std::to_string(column) + ", " +
                        std::to_string(row) + " in level " + std::to_string(level));
    if (static_cast<size_t>(level) >= fileLevels_) return halve(level, column, row);
    const auto& size = levels_[static_cast<size_t>(level)];
    const Rect rect = intersect({column * kTilePx, row * kTilePx, kTilePx, kTilePx},
                                {0, 0, size.width, size.height});
    if (settings_.stretch == Stretch::None && settings_.mixing == BandMixing::Color &&
        settings_.bands == std::array<int, 3>{0, 1, 2}) {
        auto image = std::make_shared<RgbaImage>(static_cast<int>(rect.width),
                                                 static_cast<int>(rect.height));
        if (source_->readColor(level, rect, *image)) return image;
    }
    const RasterBlock block = source_->readRegion(level, rect, bandsRead());
    return std::make_shared<RgbaImage>(settings_.mixing == BandMixing::Index ? coloredIndex(block)
                                                                             : colored(block));
}

TilePtr ColorSource::halve(int level, int64_t column, int64_t row) const {
    const auto& size = levels_[static_cast<size_t>(level)];
    const Rect rect = intersect({column * kTilePx, row * kTilePx, kTilePx, kTilePx},
                                {0, 0, size.width, size.height});
    const RgbaImage finer =
        region(level - 1, {rect.x * 2, rect.y * 2, rect.width * 2, rect.height * 2});
    auto tile =
        std::make_shared<RgbaImage>(static_cast<int>(rect.width), static_cast<int>(rect.height));
    for (int y = 0; y < tile->height; ++y)
        for (int x = 0; x < tile->width; ++x) {
            // The mean of the valid ones of four pixels.
            uint32_t sum[3] = {0, 0, 0}, count = 0;
            for (int k = 0; k < 4; ++k) {
                const uint8_t* p = finer.pixel(2 * x + k % 2, 2 * y + k / 2);
                if (p[3] == 0) continue;
                ++count;
                for (int c = 0; c < 3; ++c) sum[c] += p[c];
            }
            if (!count) continue;
            uint8_t* out = tile->pixel(x, y);
            for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>((sum[c] + count / 2) / count);
            out[3] = 255;
        }
    return tile;
}

RgbaImage ColorSource::colored(const RasterBlock& block) const {
    RgbaImage image(block.width, block.height);
    const size_t count = block.valid.size();
    std::array<double, 3> low{}, scale{1, 1, 1};
    const bool stretched = settings_.stretch != Stretch::None;
    for (size_t b = 0; stretched && b < 3; ++b) {
        low[b] = settings_.range[b][0];
        const double width = settings_.range[b][1] - low[b];
        scale[b] = width > 0 ? 255 / width : 1;
    }
    for (size_t i = 0; i < count; ++i) {
        if (!block.valid[i]) continue;
        uint8_t* out = image.rgba.data() + 4 * i;
        out[3] = 255;
        for (size_t b = 0; b < 3; ++b) {
            if (!stretched && !block.isFloat) {
                out[b] = block.u8[3 * i + b];
                continue;
            }
            const double value = block.isFloat ? block.f32[3 * i + b] : block.u8[3 * i + b];
            const double shown = (value - low[b]) * scale[b];
            out[b] =
                std::isnan(shown) ? 0 : static_cast<uint8_t>(std::clamp(shown + 0.5, 0.0, 255.0));
        }
    }
    return image;
}

RgbaImage ColorSource::coloredIndex(const RasterBlock& block) const {
    RgbaImage image(block.width, block.height);
    double low = -1, high = 1;
    if (settings_.stretch != Stretch::None) {
        low = settings_.range[0][0];
        high = settings_.range[0][1];
    }
    const double scale = high > low ? 1 / (high - low) : 1;
    for (int y = 0; y < block.height; ++y)
        for (int x = 0; x < block.width; ++x) {
            if (!block.valid[static_cast<size_t>(y) * block.width + x]) continue;
            const double value = shownValue(block, x, y, 0, BandMixing::Index);
            if (!std::isfinite(value)) continue;
            const auto color = indexColor((value - low) * scale);
            uint8_t* out = image.pixel(x, y);
            std::copy_n(color.data(), 3, out);
            out[3] = 255;
        }
    return image;
}

RgbaImage ColorSource::region(int level, const Rect& rect) const {
    if (rect.empty() || rect.width > kMaxResamplePx || rect.height > kMaxResamplePx)
        throw ReadError(info().path + ": a region of " + std::to_string(rect.width) + " x " +
                        std::to_string(rect.height) + " px cannot be read at once");
    RgbaImage image(static_cast<int>(rect.width), static_cast<int>(rect.height));
    const auto& size = levels_[static_cast<size_t>(level)];
    const Rect inside = intersect(rect, {0, 0, size.width, size.height});
    if (inside.empty()) return image;
    for (int64_t row = inside.y / kTilePx; row * kTilePx < inside.bottom(); ++row)
        for (int64_t column = inside.x / kTilePx; column * kTilePx < inside.right(); ++column) {
            const TilePtr part = tile(level, column, row);
            const Rect area{column * kTilePx, row * kTilePx, part->width, part->height};
            const Rect both = intersect(area, inside);
            for (int64_t y = both.y; y < both.bottom(); ++y)
                std::copy_n(
                    part->pixel(static_cast<int>(both.x - area.x), static_cast<int>(y - area.y)),
                    both.width * 4,
                    image.pixel(static_cast<int>(both.x - rect.x), static_cast<int>(y - rect.y)));
        }
    return image;
}

RgbaImage ColorSource::resample(double x, double y, double w, double h, int width,
                                int height) const {
    const double target = std::min(w / width, h / height);
    const int level = levelFor(target);
    const double down = levels_[static_cast<size_t>(level)].downsample;
    // Whole pixels of that level, one more on each side for the filter.
    const auto floorTo = [](double v) { return static_cast<int64_t>(std::floor(v)); };
    const Rect source{floorTo(x / down) - 1, floorTo(y / down) - 1, floorTo(w / down) + 4,
                      floorTo(h / down) + 4};
    const double offsetX = x / down - static_cast<double>(source.x),
                 offsetY = y / down - static_cast<double>(source.y);
    const double factorX = w / down / width, factorY = h / down / height;
    const bool exact = std::abs(factorX - 1) < 1e-9 && std::abs(factorY - 1) < 1e-9 &&
                       std::abs(offsetX - std::round(offsetX)) < 1e-9 &&
                       std::abs(offsetY - std::round(offsetY)) < 1e-9;
    if (exact)
        return region(level, {source.x + std::llround(offsetX), source.y + std::llround(offsetY),
                              width, height});
    RgbaImage from = region(level, source);
    RgbaImage result(width, height);
    const cv::Mat in(from.height, from.width, CV_8UC4, from.rgba.data());
    cv::Mat out(height, width, CV_8UC4, result.rgba.data());
    if (factorX > 1.001 || factorY > 1.001) {
        const cv::Rect2d box(offsetX, offsetY, w / down, h / down);
        const cv::Rect whole(static_cast<int>(std::lround(box.x)),
                             static_cast<int>(std::lround(box.y)),
                             std::max(1, static_cast<int>(std::lround(box.width))),
                             std::max(1, static_cast<int>(std::lround(box.height))));
        cv::Mat resized;
        cv::resize(in(whole & cv::Rect(0, 0, in.cols, in.rows)), resized, {width, height}, 0, 0,
                   cv::INTER_AREA);
        resized.copyTo(out);
    } else {
        const cv::Matx23d map(factorX, 0, offsetX + factorX / 2 - 0.5, 0, factorY,
                              offsetY + factorY / 2 - 0.5);
        cv::warpAffine(in, out, map, out.size(), cv::INTER_LANCZOS4 | cv::WARP_INVERSE_MAP,
                       cv::BORDER_REPLICATE);
    }
    for (size_t i = 3; i < result.rgba.size(); i += 4)
        result.rgba[i] = result.rgba[i] >= 128 ? 255 : 0;
    return result;
}

}  // namespace atlas::io
