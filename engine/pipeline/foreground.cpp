// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/foreground.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <stdexcept>

#include "engine/pipeline/wsinfer_tissue.h"

namespace atlas::engine {
namespace {

constexpr int kMaskPx = 1024;             // longest side of the foreground map
constexpr double kLeastShare = 0.05;      // of a context that must be tissue
constexpr double kMostMicroscopeUm = 20;  // a pixel; coarser ones are no microscope's
constexpr double kGlassValue = 190, kGlassSaturation = 40, kLeastGlass = 0.05;
constexpr double kDarkGround = 60;  // mean green; below, it is fluorescence
constexpr double kAllTissue = 100;  // Otsu's level where no background is found

/// Micrometres a pixel where the image is of a microscope's resolution and on no map.
std::optional<double> microscopeUm(const io::ImageInfo& info, std::optional<double> givenUm) {
    if (info.georeference && !info.georeference->wkt.empty()) return {};
    std::optional<double> um = givenUm;
    if (!um && info.resolution && !info.resolution->ground)
        um = (info.resolution->umPerPixelX + info.resolution->umPerPixelY) / 2;
    if (um && *um > kMostMicroscopeUm) return {};
    return um;
}

/// Share of the pixels with data that are bright and without colour.
double glassShare(const cv::Mat& hsv, const std::vector<uint8_t>& valid) {
    int64_t glass = 0, all = 0;
    for (int y = 0; y < hsv.rows; ++y)
        for (int x = 0; x < hsv.cols; ++x) {
            if (!valid[static_cast<size_t>(y) * static_cast<size_t>(hsv.cols) +
                       static_cast<size_t>(x)])
                continue;
            const auto& pixel = hsv.at<cv::Vec3b>(y, x);
            ++all;
            glass += pixel[2] >= kGlassValue && pixel[1] <= kGlassSaturation;
        }
    return all ? static_cast<double>(glass) / static_cast<double>(all) : 0;
}

}  // namespace

double ForegroundMap::share(const io::ImageInfo& info, double x, double y, double w,
                            double h) const {
    const double sx = width / static_cast<double>(info.levels[0].width),
                 sy = height / static_cast<double>(info.levels[0].height);
    const int x0 = std::clamp(static_cast<int>(x * sx), 0, width - 1),
              y0 = std::clamp(static_cast<int>(y * sy), 0, height - 1);
    const int x1 = std::clamp(static_cast<int>(std::ceil((x + w) * sx)), x0 + 1, width);
    const int y1 = std::clamp(static_cast<int>(std::ceil((y + h) * sy)), y0 + 1, height);
    int64_t count = 0;
    for (int j = y0; j < y1; ++j)
        for (int i = x0; i < x1; ++i) count += inside[static_cast<size_t>(j) * width + i];
    return static_cast<double>(count) / (static_cast<double>(x1 - x0) * (y1 - y0));
}

ForegroundMap findForeground(const io::ColorSource& image, std::optional<double> givenUm) {
    const auto& info = image.info();
    const auto& full = info.levels[0];
    const double down =
        std::max(1.0, static_cast<double>(std::max(full.width, full.height)) / kMaskPx);
    ForegroundMap map;
    map.rule = "data";
    map.width = std::max(1, static_cast<int>(static_cast<double>(full.width) / down));
    map.height = std::max(1, static_cast<int>(static_cast<double>(full.height) / down));
    io::RgbaImage small = image.resample(0, 0, static_cast<double>(full.width),
                                         static_cast<double>(full.height), map.width, map.height);
    map.inside.resize(static_cast<size_t>(map.width) * map.height);
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] = small.rgba[4 * i + 3] ? 1 : 0;
    if (!info.slide && !microscopeUm(info, givenUm)) return map;
    const cv::Mat rgba(map.height, map.width, CV_8UC4, small.rgba.data());
    cv::Mat rgb, hsv, channel, threshold;
    cv::cvtColor(rgba, rgb, cv::COLOR_RGBA2RGB);
    cv::cvtColor(rgb, hsv, cv::COLOR_RGB2HSV);
    const bool dark = cv::mean(rgb)[1] < kDarkGround;
    if (!info.slide && !dark && glassShare(hsv, map.inside) < kLeastGlass) return map;
    map.tissue = true;
    cv::extractChannel(hsv, channel, dark ? 2 : 1);
    cv::medianBlur(channel, channel, 5);
    const double level =
        cv::threshold(channel, threshold, 0, 1, cv::THRESH_BINARY | cv::THRESH_OTSU);
    // A slide that is all tissue has no background for Otsu to find: keep everything then.
    if (!dark && level > kAllTissue) {
        map.rule = "tissue (the whole picture: it shows no glass)";
        return map;
    }
    map.rule = dark ? "tissue (Otsu of the brightness)" : "tissue (Otsu of the saturation)";
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] &= threshold.data[i];
    return map;
}

ContextFilter::ContextFilter(const io::ColorSource& image, const RunRequest& request)
    : image_(image) {
    if (request.tissueRule == TissueRule::Overlap) {
        map_ = findForeground(image, request.resolutionUm);
        return;
    }
    const auto um = microscopeUm(image.info(), request.resolutionUm);
    if (!um)
        throw std::runtime_error(
            image.info().path +
            ": WSInfer's tissue rule is for microscope slides, and needs to know how large a pixel "
            "is (at most 20 um); leave out --tissue-rule, or give --resolution");
    wsinfer_ = std::make_unique<WsinferTissue>(image, *um);
    map_.rule = "tissue (WSInfer: the centre lies in its polygon)";
}

ContextFilter::~ContextFilter() = default;

bool ContextFilter::takes(const ContextBox& seen, const ContextBox& box) const {
    const auto& info = image_.info();
    if (wsinfer_) {
        const double half = std::nearbyint(seen.width / 2);
        return wsinfer_->contains(seen.x + half, seen.y + half);
    }
    if (map_.tissue) return map_.share(info, box.x, box.y, box.width, box.height) >= kLeastShare;
    const auto down = [](double v) { return static_cast<int64_t>(std::floor(v)); };
    const auto up = [](double v) { return static_cast<int64_t>(std::ceil(v)); };
    const int64_t x = down(box.x), y = down(box.y);
    const io::Rect inside =
        io::intersect({x, y, up(box.x + box.width) - x, up(box.y + box.height) - y},
                      {0, 0, info.levels[0].width, info.levels[0].height});
    return !inside.empty() && image_.source()->mayHoldData(inside);
}

}  // namespace atlas::engine
