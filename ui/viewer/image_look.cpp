// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/image_look.h"

#include <algorithm>
#include <cmath>

namespace atlas::ui {
namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

std::array<double, 3> unit(std::array<double, 3> v) {
    const double length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    for (double& x : v) x /= length;
    return v;
}

std::array<double, 3> cross(const std::array<double, 3>& a, const std::array<double, 3>& b) {
    return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

}  // namespace

double ChannelLook::apply(double value) const {
    const double linear = std::clamp((value - 0.5) * contrast + 0.5 + brightness, 0.0, 1.0);
    return std::pow(linear, 1 / gamma);
}

StainVectors::StainVectors() : StainVectors({0.651, 0.701, 0.290}, {0.216, 0.801, 0.558}) {}

StainVectors::StainVectors(const std::array<double, 3>& hematoxylin,
                           const std::array<double, 3>& eosin) {
    const auto h = unit(hematoxylin), e = unit(eosin);
    vectors = {h, e, unit(cross(h, e))};
}

Matrix StainVectors::inverse() const {
    const Matrix& m = vectors;
    const Matrix cofactors{cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])};
    const double determinant =
        m[0][0] * cofactors[0][0] + m[0][1] * cofactors[0][1] + m[0][2] * cofactors[0][2];
    Matrix inverse;
    for (size_t i = 0; i < 3; ++i)
        for (size_t j = 0; j < 3; ++j) inverse[i][j] = cofactors[j][i] / determinant;
    return inverse;
}

QColor ImageLook::apply(const QColor& color) const {
    std::array<double, 3> rgb{color.redF(), color.greenF(), color.blueF()};
    if (stain != Stain::All) {
        const Matrix inverse = stains.inverse();
        const auto which = static_cast<size_t>(stain) - 1;
        double amount = 0;
        for (size_t c = 0; c < 3; ++c)
            amount += -std::log(std::max(rgb[c], 1.0 / 255)) * inverse[c][which];
        amount = std::max(amount, 0.0);
        for (size_t c = 0; c < 3; ++c)
            rgb[c] = std::min(1.0, std::exp(-amount * std::abs(stains.vectors[which][c])));
    }
    for (size_t c = 0; c < 3; ++c) rgb[c] = channels[c].apply(rgb[c]);
    return QColor::fromRgbF(static_cast<float>(rgb[0]), static_cast<float>(rgb[1]),
                            static_cast<float>(rgb[2]), color.alphaF());
}

}  // namespace atlas::ui
