// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/overlay_layer.h"

#include <algorithm>
#include <cmath>
#include <limits>

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
    return colorAt(colorMap, std::floor(t * 255 + 0.5) / 255).rgba();  // as picture() does
}

QImage OverlayLayer::picture(int x, int y, int w, int h) const {
    QImage image(w, h, QImage::Format_ARGB32);
    if (kind == Kind::Classes) {
        for (int row = 0; row < h; ++row) {
            auto* line = reinterpret_cast<QRgb*>(image.scanLine(row));
            for (int column = 0; column < w; ++column)
                line[column] = colorOf(raster->at(band, x + column, y + row));
        }
        return image;
    }
    std::array<QRgb, 256> table;
    for (size_t i = 0; i < table.size(); ++i)
        table[i] = colorAt(colorMap, static_cast<double>(i) / 255).rgba();
    const double factor = high > low ? 255 / (high - low) : 0;
    for (int row = 0; row < h; ++row) {
        auto* line = reinterpret_cast<QRgb*>(image.scanLine(row));
        for (int column = 0; column < w; ++column) {
            const float value = raster->at(band, x + column, y + row);
            const bool clear = std::isnan(value) || (threshold > 0 && value < threshold);
            line[column] = clear ? 0
                                 : table[static_cast<size_t>(
                                       std::clamp((value - low) * factor + 0.5, 0.0, 255.0))];
        }
    }
    return image;
}

float OverlayLayer::valueAt(double x, double y) const {
    int column = 0, row = 0;
    if (!raster || !raster->cellAt(x, y, column, row))
        return std::numeric_limits<float>::quiet_NaN();
    return raster->at(band, column, row);
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
