// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/foreground.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace atlas::engine {
namespace {

constexpr int kMaskPx = 1024;  // longest side of the foreground map

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

ForegroundMap findForeground(const io::ColorSource& image) {
    const auto& full = image.info().levels[0];
    const double down =
        std::max(1.0, static_cast<double>(std::max(full.width, full.height)) / kMaskPx);
    ForegroundMap map;
    map.width = std::max(1, static_cast<int>(static_cast<double>(full.width) / down));
    map.height = std::max(1, static_cast<int>(static_cast<double>(full.height) / down));
    io::RgbaImage small = image.resample(0, 0, static_cast<double>(full.width),
                                         static_cast<double>(full.height), map.width, map.height);
    map.inside.resize(static_cast<size_t>(map.width) * map.height);
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] = small.rgba[4 * i + 3] ? 1 : 0;
    if (!image.info().slide) return map;
    const cv::Mat rgba(map.height, map.width, CV_8UC4, small.rgba.data());
    cv::Mat rgb, hsv, channel, threshold;
    cv::cvtColor(rgba, rgb, cv::COLOR_RGBA2RGB);
    cv::cvtColor(rgb, hsv, cv::COLOR_RGB2HSV);
    const bool dark = cv::mean(rgb)[1] < 60;  // fluorescence
    cv::extractChannel(hsv, channel, dark ? 2 : 1);
    cv::medianBlur(channel, channel, 5);
    const double level =
        cv::threshold(channel, threshold, 0, 1, cv::THRESH_BINARY | cv::THRESH_OTSU);
    // A slide that is all tissue has no background for Otsu to find: keep everything then.
    if (!dark && level > 100) return map;
    for (size_t i = 0; i < map.inside.size(); ++i) map.inside[i] &= threshold.data[i];
    return map;
}

}  // namespace atlas::engine
