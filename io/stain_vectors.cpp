// SPDX-License-Identifier: Apache-2.0
#include "io/stain_vectors.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>

namespace atlas::io {
namespace {
constexpr double kBackgroundDensity = 0.15;
constexpr int kLeastStained = 100;    // pixels
constexpr double kLeastAngle = 0.05;  // sine between the two stains
}  // namespace

std::optional<StainPair> estimateStains(const RgbaImage& picture) {
    cv::Mat densities(0, 3, CV_64F);
    for (size_t i = 0; i < picture.rgba.size(); i += 4) {
        if (picture.rgba[i + 3] == 0) continue;
        double d[3], least = 1e9;
        for (size_t c = 0; c < 3; ++c) {
            d[c] = -std::log(std::max<double>(picture.rgba[i + c], 1) / 255);
            least = std::min(least, d[c]);
        }
        if (least >= kBackgroundDensity) densities.push_back(cv::Mat(1, 3, CV_64F, d));
    }
    if (densities.rows < kLeastStained) return {};
    cv::Mat covariance, mean, values, axes;
    cv::calcCovarMatrix(densities, covariance, mean, cv::COVAR_NORMAL | cv::COVAR_ROWS, CV_64F);
    cv::eigen(covariance, values, axes);  // rows, largest first
    cv::Mat plane = axes.rowRange(0, 2).clone();
    for (int row = 0; row < 2; ++row)
        if (cv::sum(plane.row(row))[0] < 0) plane.row(row) *= -1;
    const cv::Mat at = densities * plane.t();
    std::vector<double> angles;
    for (int i = 0; i < at.rows; ++i)
        angles.push_back(std::atan2(at.at<double>(i, 1), at.at<double>(i, 0)));
    std::sort(angles.begin(), angles.end());
    const auto direction = [&](size_t percent) {
        const double a = angles[(angles.size() - 1) * percent / 100];
        std::array<double, 3> v{};
        double square = 0;
        for (int c = 0; c < 3; ++c) {
            double& x = v[static_cast<size_t>(c)];
            x = std::max(
                0.0, std::cos(a) * plane.at<double>(0, c) + std::sin(a) * plane.at<double>(1, c));
            square += x * x;
        }
        for (double& x : v) x /= std::sqrt(square);
        return v;
    };
    StainPair pair{direction(1), direction(99)};
    if (pair[0][0] < pair[1][0]) std::swap(pair[0], pair[1]);
    const double cosine =
        pair[0][0] * pair[1][0] + pair[0][1] * pair[1][1] + pair[0][2] * pair[1][2];
    if (!(cosine < std::sqrt(1 - kLeastAngle * kLeastAngle))) return {};
    return pair;
}

}  // namespace atlas::io
