// SPDX-License-Identifier: Apache-2.0
// What is painted over the image: legend, scale bar, minimap.
#pragma once

#include <QImage>
#include <QPainter>
#include <vector>

#include "ui/viewer/overlay_layer.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {

/// Lower left; one block a visible layer, topmost first.
void drawLegend(QPainter& painter, const QRectF& view, const std::vector<OverlayLayer>& layers);

/// Lower middle; a round length at `umPerViewPixel`. `note`: where that is not the image's own.
void drawScaleBar(QPainter& painter, const QRectF& view, double umPerViewPixel, bool ground,
                  const QString& note);
/// What stands over the bar.
QString scaleBarText(double um, bool ground, const QString& note);

void drawMinimap(QPainter& painter, const QRectF& area, const QImage& picture,
                 const ViewTransform& transform);

/// The round length of 60 to 180 view pixels: its micrometres.
double scaleBarLengthUm(double umPerViewPixel);
/// The line between two sides of a comparison, at a share of the width.
void drawSwipe(QPainter& painter, const QRectF& view, double share);
void drawLens(QPainter& painter, const QPointF& at, double radius);
/// Which way is up in the image, where the view is turned.
void drawUpArrow(QPainter& painter, const QRectF& view, double degrees);

}  // namespace atlas::ui
