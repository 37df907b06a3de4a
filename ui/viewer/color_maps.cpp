// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/color_maps.h"

#include <algorithm>
#include <array>

namespace atlas::ui {
namespace {

using Knots = std::array<QRgb, 9>;  // evenly spaced, linear in between

constexpr Knots kViridis{0xff440154, 0xff472d7b, 0xff3b528b, 0xff2c728e, 0xff21918c,
                         0xff28ae80, 0xff5ec962, 0xffaddc30, 0xfffde725};
constexpr Knots kCividis{0xff00224e, 0xff123570, 0xff3b496c, 0xff575d6d, 0xff707173,
                         0xff8a8678, 0xffa59c74, 0xffd2c060, 0xfffee838};
constexpr Knots kMagma{0xff000004, 0xff1c1044, 0xff4f127b, 0xff812581, 0xffb5367a,
                       0xffe55064, 0xfffb8761, 0xfffec287, 0xfffcfdbf};
constexpr Knots kInferno{0xff000004, 0xff1f0c48, 0xff550f6d, 0xff88226a, 0xffba3655,
                         0xffe35933, 0xfff98e09, 0xfff9cb35, 0xfffcffa4};

// Diverging, colour-blind safe, after Crameri's vik: blue, white, red.
constexpr Knots kVik{0xff001261, 0xff03477c, 0xff3484a8, 0xff9cc3d5, 0xffebe5e0,
                     0xffd6a98a, 0xffb56b3c, 0xff853309, 0xff590008};

const Knots& knotsOf(const QString& map) {
    if (map == "vik") return kVik;
    if (map == "cividis") return kCividis;
    if (map == "magma") return kMagma;
    if (map == "inferno") return kInferno;
    return kViridis;
}

}  // namespace

QStringList colorMapNames() {
    return {"viridis", "cividis", "magma", "inferno", "vik"};
}

QColor colorAt(const QString& map, double t) {
    const Knots& knots = knotsOf(map);
    const double at = std::clamp(t, 0.0, 1.0) * (knots.size() - 1);
    const auto left = std::min(static_cast<size_t>(at), knots.size() - 2);
    const double part = at - static_cast<double>(left);
    const QColor a = QColor::fromRgba(knots[left]), b = QColor::fromRgba(knots[left + 1]);
    const auto mix = [part](int from, int to) {
        return static_cast<int>(from + (to - from) * part + 0.5);
    };
    return QColor(mix(a.red(), b.red()), mix(a.green(), b.green()), mix(a.blue(), b.blue()));
}

}  // namespace atlas::ui
