// SPDX-License-Identifier: Apache-2.0
// A result drawn over the image: class colours, or a magnitude through a colour map.
#pragma once

#include <QColor>
#include <QImage>
#include <QString>
#include <memory>
#include <vector>

#include "io/export/raster_file.h"

namespace atlas::ui {

struct OverlayLayer {
    enum class Kind { Classes, Magnitude };
    enum class Blend { Normal, Multiply, Add };

    QString id;     ///< "prediction", "probability", "attention0", "mass", "probe1" ...
    QString title;  ///< as the layer list and the legend show it
    Kind kind = Kind::Magnitude;
    std::shared_ptr<const io::GridRaster> raster;
    int band = 0;
    QStringList classNames;      ///< for Classes: legend entries
    std::vector<QColor> colors;  ///< for Classes
    std::vector<double> areas;   ///< for Classes: level-0 pixels that each one covers
    QString colorMap = "viridis";
    double low = 0, high = 1;  ///< values at the ends of the colour map
    bool raw = false;          ///< Magnitude: low and high from the values, not from percentiles
    bool isSigned = false;     ///< Magnitude: zero stays in the middle of the map
    double threshold = 0;      ///< Magnitude: values below are transparent; 0: none are
    double opacity = 0.5;
    Blend blend = Blend::Normal;
    bool visible = false;
    bool smooth = false;  ///< Magnitude: interpolated between cells
    bool invert = false;  ///< Magnitude: the colour map the other way round

    /// The colour of a value; fully transparent where there is none.
    QRgb colorOf(float value) const;
    /// Of a place of 0 to 1 in the colour map.
    QColor mapColor(double t) const;
    /// Colours of the classes, or 256 of the colour map, one pixel each.
    QImage colorStrip() const;
    /// Cells [x, x + w) x [y, y + h) of the band; kMissing where there is no value.
    std::vector<float> values(int x, int y, int w, int h) const;
    static constexpr float kMissing = -3.4e38f;
    /// Value at a level-0 position; NaN where there is none.
    float valueAt(double x, double y) const;
    /// Fills in `areas`, of the cells in `within` (level-0 pixels). Takes as long as it has cells.
    void measureAreas(const io::Rect& within);
    /// low and high from the 2nd and 98th percentile of the band.
    void scaleToData();
    /// low and high as `raw` and `isSigned` have it; raw: from 0 to 1 where the values are shares,
    /// else to the largest.
    void rescale();
};

}  // namespace atlas::ui
