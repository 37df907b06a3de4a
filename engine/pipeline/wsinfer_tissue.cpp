// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/wsinfer_tissue.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "engine/nn/pil_resize.h"

namespace atlas::engine {
namespace {

constexpr int kThumbnailPx = 2048;
constexpr int64_t kLargestReadPx = 4 * kThumbnailPx;  // a side; larger levels are averaged first
constexpr int kMedianPx = 7, kThreshold = 7, kClosingPx = 6;
constexpr double kLeastSpeckUm2 = 200.0 * 200, kLeastHoleUm2 = 190.0 * 190;

/// RGB on white where there is no data.
std::vector<uint8_t> onWhite(const io::RgbaImage& image) {
    std::vector<uint8_t> rgb(image.rgba.size() / 4 * 3);
    for (size_t i = 0; i < image.rgba.size() / 4; ++i)
        for (size_t c = 0; c < 3; ++c)
            rgb[3 * i + c] = image.rgba[4 * i + 3] ? image.rgba[4 * i + c] : 255;
    return rgb;
}

cv::Mat thumbnailOf(const io::ColorSource& image, std::vector<uint8_t>& rgb) {
    const auto& full = image.info().levels[0];
    const double down =
        std::max(1.0, static_cast<double>(std::max(full.width, full.height)) / kThumbnailPx);
    const auto& level = image.levels()[static_cast<size_t>(image.levelFor(down))];
    int width = static_cast<int>(std::min(level.width, kLargestReadPx)),
        height = static_cast<int>(std::min(level.height, kLargestReadPx));
    if (std::max(level.width, level.height) > kLargestReadPx) {
        const double shrink = static_cast<double>(kLargestReadPx) /
                              static_cast<double>(std::max(full.width, full.height));
        width = std::max(1, static_cast<int>(static_cast<double>(full.width) * shrink));
        height = std::max(1, static_cast<int>(static_cast<double>(full.height) * shrink));
        rgb = onWhite(image.resample(0, 0, static_cast<double>(full.width),
                                     static_cast<double>(full.height), width, height));
    } else {
        rgb = onWhite(image.region(image.levelFor(down), {0, 0, width, height}));
    }
    rgb = thumbnailLikePillow(std::move(rgb), height, width, kThumbnailPx);
    return {height, width, CV_8UC3, rgb.data()};
}

/// Turns the connected parts of `value` that have fewer pixels than `least` into the other value;
/// neighbours touch along a side.
void dropSmall(cv::Mat& mask, bool value, int64_t least) {
    cv::Mat wanted, labels, statistics, centres;
    cv::compare(mask, value ? 255 : 0, wanted, cv::CMP_EQ);
    const int count = cv::connectedComponentsWithStats(wanted, labels, statistics, centres, 4);
    std::vector<bool> small(static_cast<size_t>(count));
    for (int i = 1; i < count; ++i)
        small[static_cast<size_t>(i)] = statistics.at<int>(i, cv::CC_STAT_AREA) < least;
    for (int y = 0; y < mask.rows; ++y)
        for (int x = 0; x < mask.cols; ++x)
            if (small[static_cast<size_t>(labels.at<int>(y, x))])
                mask.at<uint8_t>(y, x) = value ? 0 : 255;
}

cv::Mat maskOf(const cv::Mat& rgb, double umPerPixel) {
    cv::Mat hsv, mask;
    cv::cvtColor(rgb, hsv, cv::COLOR_RGB2HSV);
    cv::extractChannel(hsv, mask, 1);
    cv::medianBlur(mask, mask, kMedianPx);
    cv::threshold(mask, mask, kThreshold, 255, cv::THRESH_BINARY);
    const cv::Mat square = cv::Mat::ones(kClosingPx, kClosingPx, CV_8U);
    const int middle = kClosingPx / 2;
    cv::dilate(mask, mask, square, {middle, middle});
    // The square is of even size: its mirror image takes back what the square added.
    cv::erode(mask, mask, square, {kClosingPx - 1 - middle, kClosingPx - 1 - middle});
    const auto pixels = [&](double um2) {
        return static_cast<int64_t>(std::nearbyint(um2 / (umPerPixel * umPerPixel)));
    };
    dropSmall(mask, true, pixels(kLeastSpeckUm2));
    dropSmall(mask, false, pixels(kLeastHoleUm2));
    return mask;
}

}  // namespace

WsinferTissue::WsinferTissue(const io::ColorSource& image, double umPerPixel) {
    std::vector<uint8_t> pixels;
    const cv::Mat rgb = thumbnailOf(image, pixels);
    const auto& full = image.info().levels[0];
    scaleX_ = static_cast<double>(full.width) / rgb.cols;
    scaleY_ = static_cast<double>(full.height) / rgb.rows;
    const cv::Mat mask = maskOf(rgb, umPerPixel * (scaleX_ + scaleY_) / 2);
    std::vector<std::vector<cv::Point>> outlines;
    std::vector<cv::Vec4i> hierarchy;
    cv::findContours(mask, outlines, hierarchy, cv::RETR_CCOMP, cv::CHAIN_APPROX_SIMPLE);
    const auto keep = [&](int index, bool hole) {
        const auto& outline = outlines[static_cast<size_t>(index)];
        if (outline.size() < 3) return;
        Contour contour;
        contour.hole = hole;
        contour.top = contour.bottom = outline[0].y;
        for (const auto& point : outline) {
            contour.points.push_back({point.x, point.y});
            contour.top = std::min(contour.top, point.y);
            contour.bottom = std::max(contour.bottom, point.y);
        }
        contours_.push_back(std::move(contour));
    };
    // Each outer line is followed by the holes inside of it.
    for (int outer = outlines.empty() ? -1 : 0; outer >= 0;
         outer = hierarchy[static_cast<size_t>(outer)][0]) {
        keep(outer, false);
        for (int hole = hierarchy[static_cast<size_t>(outer)][2]; hole >= 0;
             hole = hierarchy[static_cast<size_t>(hole)][0])
            keep(hole, true);
    }
}

WsinferTissue::Cut WsinferTissue::cutAt(const Contour& contour, double y) const {
    Cut cut;
    if (y < contour.top || y > contour.bottom) return cut;
    const size_t count = contour.points.size();
    for (size_t i = 0; i < count; ++i) {
        const auto& a = contour.points[i];
        const auto& b = contour.points[(i + 1) % count];
        const double ax = a[0], ay = a[1], bx = b[0], by = b[1];
        if (ay == y && by == y) cut.onLine.push_back({std::min(ax, bx), std::max(ax, bx)});
        if (ay == y) cut.onLine.push_back({ax, ax});
        if ((ay <= y) != (by <= y)) cut.crossings.push_back(ax + (y - ay) * (bx - ax) / (by - ay));
    }
    std::sort(cut.crossings.begin(), cut.crossings.end());
    return cut;
}

WsinferTissue::Side WsinferTissue::sideOf(const Cut& cut, double x) {
    for (const auto& [from, to] : cut.onLine)
        if (x >= from && x <= to) return Side::Edge;
    const auto first = std::lower_bound(cut.crossings.begin(), cut.crossings.end(), x);
    if (first != cut.crossings.end() && *first == x) return Side::Edge;
    return (first - cut.crossings.begin()) % 2 ? Side::Inside : Side::Outside;
}

bool WsinferTissue::contains(double x, double y) {
    const double cx = x / scaleX_, cy = y / scaleY_;
    if (cy != cutY_) {
        cuts_.clear();
        for (const auto& contour : contours_) cuts_.push_back(cutAt(contour, cy));
        cutY_ = cy;
    }
    bool inside = false;
    for (size_t i = 0; i < contours_.size(); ++i) {
        const Side side = sideOf(cuts_[i], cx);
        if (contours_[i].hole)
            inside = inside && side == Side::Outside;
        else
            inside = inside || side == Side::Inside;
    }
    return inside;
}

}  // namespace atlas::engine
