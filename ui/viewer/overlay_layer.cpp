// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/overlay_layer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/pipeline/class_areas.h"
#include "ui/viewer/color_maps.h"

namespace atlas::ui {

QRgb OverlayLayer::colorOf(float value) const {
    if (std::isnan(value)) return 0;
    if (kind == Kind::Classes) {
        const auto index = static_cast<size_t>(value);
        return index < colors.size() ? colors[index].rgba() : 0;
    }
    if (threshold > 0 && value < threshold) return 0;
    const double t = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0;
    return mapColor(std::floor(t * 255 + 0.5) / 255).rgba();  // as the strip has it
}

QImage OverlayLayer::colorStrip() const {
    if (kind == Kind::Classes) {
        QImage strip(std::max(1, static_cast<int>(colors.size())), 1, QImage::Format_ARGB32);
        strip.fill(Qt::transparent);
        for (size_t i = 0; i < colors.size(); ++i)
            strip.setPixelColor(static_cast<int>(i), 0, colors[i]);
        return strip;
    }
    QImage strip(256, 1, QImage::Format_ARGB32);
    for (int i = 0; i < 256; ++i) strip.setPixelColor(i, 0, mapColor(i / 255.0));
    return strip;
}

QColor OverlayLayer::mapColor(double t) const {
    return colorAt(colorMap, invert ? 1 - t : t);
}

std::vector<float> OverlayLayer::values(int x, int y, int w, int h) const {
    std::vector<float> cells;
    cells.reserve(static_cast<size_t>(w) * static_cast<size_t>(h));
    for (int row = y; row < y + h; ++row)
        for (int column = x; column < x + w; ++column) {
            const float v = raster->at(band, column, row);
            cells.push_back(std::isnan(v) ? kMissing : v);
        }
    return cells;
}

float OverlayLayer::valueAt(double x, double y) const {
    int column = 0, row = 0;
    if (!raster || !raster->cellAt(x, y, column, row))
        return std::numeric_limits<float>::quiet_NaN();
    return raster->at(band, column, row);
}

void OverlayLayer::measureAreas(const io::Rect& within) {
    areas = engine::classAreas(*raster, within, static_cast<size_t>(classNames.size()));
}

void OverlayLayer::rescale() {
    if (raw) {
        float least = 0, most = 0;
        const size_t count = static_cast<size_t>(raster->width) * raster->height;
        for (size_t i = 0; i < count; ++i) {
            const float value = raster->values[static_cast<size_t>(band) * count + i];
            if (std::isnan(value)) continue;
            least = std::min(least, value);
            most = std::max(most, value);
        }
        low = least;
        high = most <= 1 && (id == "probability" || id == "mass") ? 1 : most;
    } else {
        scaleToData();
    }
    if (isSigned) {
        high = std::max(std::abs(low), std::abs(high));
        low = -high;
    }
    if (!(high > low)) high = low + 1e-6;
}

void OverlayLayer::scaleToData() {
    std::vector<float> values;
    const size_t count = static_cast<size_t>(raster->width) * raster->height;
    const size_t step = std::max<size_t>(1, count / 200000);
    for (size_t i = 0; i < count; i += step) {
        const float value = raster->values[static_cast<size_t>(band) * count + i];
        if (!std::isnan(value)) values.push_back(value);
    }
    if (values.empty()) return;
    std::sort(values.begin(), values.end());
    low = values[values.size() * 2 / 100];
    high = values[std::min(values.size() - 1, values.size() * 98 / 100)];
    if (!(high > low)) high = low + 1e-6;
}

}  // namespace atlas::ui
