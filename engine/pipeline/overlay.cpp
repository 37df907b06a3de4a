// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/overlay.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "engine/pipeline/class_areas.h"
#include "io/numbers.h"

namespace atlas::engine {
namespace {

constexpr int kLongestPx = 1600;
constexpr double kOpacity = 0.45;
constexpr int kLegendWidth = 300, kLineHeight = 24, kMargin = 14;

struct Share {
    size_t label;
    double fraction;  ///< of the classified area
};

/// Largest first; classes that cover nothing are left out.
std::vector<Share> sharesOf(const io::GridRaster& classes, const io::Rect& region, size_t count) {
    const auto fractions = areaFractions(classAreas(classes, region, count));
    std::vector<Share> shares;
    for (size_t i = 0; i < count; ++i)
        if (fractions[i] > 0) shares.push_back({i, fractions[i]});
    std::stable_sort(shares.begin(), shares.end(),
                     [](const Share& a, const Share& b) { return a.fraction > b.fraction; });
    return shares;
}

void drawLegend(cv::Mat& canvas, int left, const RunRecord& record,
                const std::vector<Share>& shares) {
    const cv::Scalar ink(40, 40, 40, 255);
    int y = kMargin + 12;
    const auto text = [&](const std::string& line, int x, double size) {
        cv::putText(canvas, line, {x, y}, cv::FONT_HERSHEY_SIMPLEX, size, ink, 1, cv::LINE_AA);
    };
    text("model: " + record.model.name, left + kMargin, 0.5);
    if (record.whole && !record.rows.empty()) {
        const auto& p = record.rows[0].probabilities;
        const auto best = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
        y += kLineHeight;
        text("whole image: " + record.model.classNames[best] + ", " +
                 io::formatFixed(100 * static_cast<double>(p[best]), 1) + " %",
             left + kMargin, 0.45);
        y += kLineHeight;
        text("what each place speaks for most:", left + kMargin, 0.4);
    }
    for (const auto& share : shares) {
        y += kLineHeight;
        if (y + kMargin > canvas.rows) return;
        const auto& c = record.model.classColors[share.label];
        cv::rectangle(canvas, {left + kMargin, y - 12, 16, 16}, cv::Scalar(c[0], c[1], c[2], 255),
                      cv::FILLED);
        cv::rectangle(canvas, {left + kMargin, y - 12, 16, 16}, cv::Scalar(90, 90, 90, 255), 1);
        const std::string percent = io::formatText("%5.1f %%", 100 * share.fraction);
        text(record.model.classNames[share.label], left + kMargin + 26, 0.45);
        text(percent, left + kLegendWidth - 70, 0.45);
    }
}

}  // namespace

io::RgbaImage drawOverlay(const io::ColorSource& image, const RunRecord& record,
                          const RunLayers& layers) {
    const auto& region = record.plan.region;
    const double down =
        std::max(1.0, static_cast<double>(std::max(region.width, region.height)) / kLongestPx);
    const int width = std::max(1, static_cast<int>(static_cast<double>(region.width) / down));
    const int height = std::max(1, static_cast<int>(static_cast<double>(region.height) / down));
    const io::RgbaImage picture = image.resample(
        static_cast<double>(region.x), static_cast<double>(region.y),
        static_cast<double>(region.width), static_cast<double>(region.height), width, height);
    // A whole-image run has one prediction; the picture shows what each place speaks for.
    const auto& classes = layers.contributions.empty() ? layers.classes : layers.evidence;
    const auto shares = sharesOf(classes, region, record.model.classNames.size());
    const int legendHeight =
        2 * kMargin + kLineHeight * (static_cast<int>(shares.size()) + (record.whole ? 3 : 1));
    io::RgbaImage result(width + kLegendWidth, std::max(height, legendHeight));
    std::fill(result.rgba.begin(), result.rgba.end(), uint8_t{255});
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const uint8_t* from = picture.pixel(x, y);
            uint8_t* to = result.pixel(x, y);
            for (int c = 0; c < 3; ++c) to[c] = from[3] ? from[c] : 255;
            int column = 0, row = 0;
            if (!classes.cellAt(static_cast<double>(region.x) + (x + 0.5) * down,
                                static_cast<double>(region.y) + (y + 0.5) * down, column, row))
                continue;
            const float label = classes.at(0, column, row);
            if (std::isnan(label)) continue;
            const auto& color = record.model.classColors[static_cast<size_t>(label)];
            for (size_t c = 0; c < 3; ++c)
                to[c] = static_cast<uint8_t>(to[c] * (1 - kOpacity) + color[c] * kOpacity + 0.5);
        }
    cv::Mat canvas(result.height, result.width, CV_8UC4, result.rgba.data());
    drawLegend(canvas, width, record, shares);
    return result;
}

}  // namespace atlas::engine
