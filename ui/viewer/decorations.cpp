// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/decorations.h"

#include <QCoreApplication>
#include <QFontMetricsF>
#include <algorithm>
#include <cmath>

#include "engine/pipeline/run_request.h"
#include "ui/viewer/color_maps.h"

namespace atlas::ui {
namespace {

constexpr double kMargin = 12, kPad = 8, kLine = 18, kSwatch = 12, kLegendWidth = 210;
constexpr double kNarrow = 620;
constexpr int kMaxEntries = 14;
const QColor kPlate(20, 20, 22, 205), kInk(238, 238, 238);

/// Classes that cover any area, the largest first.
std::vector<std::pair<size_t, double>> classesByArea(const OverlayLayer& layer) {
    std::vector<std::pair<size_t, double>> areas;
    for (size_t i = 0; i < layer.areas.size(); ++i)
        if (layer.areas[i] > 0) areas.emplace_back(i, layer.areas[i]);
    std::stable_sort(areas.begin(), areas.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return areas;
}

double plate(QPainter& painter, double bottom, double width, double height) {
    painter.setPen(Qt::NoPen);
    painter.setBrush(kPlate);
    painter.drawRoundedRect(QRectF(kMargin, bottom - height, width, height), 4, 4);
    return bottom - height;
}

double drawClasses(QPainter& painter, double bottom, const OverlayLayer& layer) {
    const auto areas = classesByArea(layer);
    const auto shown = std::min<size_t>(areas.size(), kMaxEntries);
    const bool more = areas.size() > shown;
    const double height = 2 * kPad + kLine * static_cast<double>(1 + shown + more);
    const double top = plate(painter, bottom, kLegendWidth, height);
    double y = top + kPad;
    double all = 0;
    for (const auto& area : areas) all += area.second;
    const auto line = [&](const QString& text, double x, int flags = Qt::AlignLeft) {
        painter.setPen(kInk);
        painter.drawText(QRectF(x, y, kMargin + kLegendWidth - kPad - x, kLine),
                         flags | Qt::AlignVCenter, text);
    };
    line(layer.title, kMargin + kPad);
    y += kLine;
    for (size_t i = 0; i < shown; ++i, y += kLine) {
        painter.setPen(Qt::NoPen);
        if (areas[i].first < layer.colors.size()) painter.setBrush(layer.colors[areas[i].first]);
        painter.drawRect(QRectF(kMargin + kPad, y + 3, kSwatch, kSwatch));
        line(layer.classNames[static_cast<int>(areas[i].first)], kMargin + kPad + kSwatch + 6);
        line(QString::number(100 * areas[i].second / all, 'f', 1) + " %", kMargin + kPad,
             Qt::AlignRight);
    }
    if (more)
        line(QCoreApplication::translate("Legend", "and %1 more").arg(areas.size() - shown),
             kMargin + kPad);
    return top;
}

double drawMagnitude(QPainter& painter, double bottom, const OverlayLayer& layer) {
    const double width =
        std::max(kLegendWidth, painter.fontMetrics().horizontalAdvance(layer.title) + 2 * kPad);
    const double top = plate(painter, bottom, width, 2 * kPad + 3 * kLine - 4);
    const QRectF bar(kMargin + kPad, top + kPad + kLine, width - 2 * kPad, 12);
    painter.setPen(kInk);
    painter.drawText(QRectF(bar.x(), top + kPad, bar.width(), kLine), Qt::AlignVCenter,
                     layer.title);
    QLinearGradient gradient(bar.topLeft(), bar.topRight());
    for (int i = 0; i <= 16; ++i) gradient.setColorAt(i / 16.0, layer.mapColor(i / 16.0));
    painter.setPen(Qt::NoPen);
    painter.setBrush(gradient);
    painter.drawRect(bar);
    painter.setPen(kInk);
    const QRectF labels(bar.x(), bar.bottom(), bar.width(), kLine);
    painter.drawText(labels, Qt::AlignLeft | Qt::AlignVCenter, QString::number(layer.low, 'g', 3));
    painter.drawText(labels, Qt::AlignRight | Qt::AlignVCenter,
                     QString::number(layer.high, 'g', 3));
    return top;
}

}  // namespace

void drawLegend(QPainter& painter, const QRectF& view, const std::vector<OverlayLayer>& layers) {
    painter.save();
    double bottom = view.height() - kMargin;
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
        if (!layer->visible || !layer->raster || layer->id == "probe.token") continue;
        bottom =
            (layer->kind == OverlayLayer::Kind::Classes ? drawClasses(painter, bottom, *layer)
                                                        : drawMagnitude(painter, bottom, *layer)) -
            6;
    }
    painter.restore();
}

double scaleBarLengthUm(double umPerViewPixel) {
    const double least = 60 * umPerViewPixel;
    const double power = std::pow(10, std::floor(std::log10(least)));
    for (double step : {1.0, 2.0, 5.0, 10.0})
        if (step * power >= least) return step * power;
    return 10 * power;
}

QString scaleBarText(double um, bool ground, const QString& note) {
    const QString length = QString::fromStdString(engine::lengthText(um, ground));
    return note.isEmpty() ? length : length + ", " + note;
}

void drawScaleBar(QPainter& painter, const QRectF& view, double umPerViewPixel, bool ground,
                  const QString& note) {
    if (!(umPerViewPixel > 0) || !std::isfinite(umPerViewPixel)) return;
    const double um = scaleBarLengthUm(umPerViewPixel), length = um / umPerViewPixel;
    const QString text = scaleBarText(um, ground, note);
    const double wide = std::max(length, painter.fontMetrics().horizontalAdvance(text) + 0.0);
    // Below the middle; in a narrow view legend and minimap leave no room there.
    const bool narrow = view.width() < kNarrow;
    const double left = narrow ? kMargin : view.width() / 2 - wide / 2 - 12,
                 top = narrow ? kMargin : view.height() - 46;
    const QRectF plateRect(left, top, wide + 24, 34);
    painter.setPen(Qt::NoPen);
    painter.setBrush(kPlate);
    painter.drawRoundedRect(plateRect, 4, 4);
    painter.setPen(kInk);
    painter.drawText(QRectF(plateRect.x(), plateRect.y() + 3, plateRect.width(), 18),
                     Qt::AlignCenter, text);
    painter.fillRect(QRectF(left + 12 + (wide - length) / 2, plateRect.bottom() - 9, length, 4),
                     kInk);
}

void drawMinimap(QPainter& painter, const QRectF& area, const QImage& picture,
                 const ViewTransform& transform) {
    painter.setPen(Qt::NoPen);
    painter.setBrush(kPlate);
    painter.drawRect(area.adjusted(-3, -3, 3, 3));
    painter.setRenderHint(QPainter::SmoothPixmapTransform);
    painter.drawImage(area, picture);
    const double sx = area.width() / transform.imageSize().width(),
                 sy = area.height() / transform.imageSize().height();
    QPolygonF seen;
    for (const auto& p : transform.visibleImageArea())
        seen << QPointF(area.x() + p.x() * sx, area.y() + p.y() * sy);
    const QRectF box = seen.boundingRect();
    if (box.width() < 4 || box.height() < 4)  // too small to see
        seen = QPolygonF(QRectF(box.center() - QPointF(2, 2), QSizeF(4, 4)));
    painter.save();
    painter.setClipRect(area.adjusted(-1, -1, 1, 1));
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(QColor(255, 210, 60), 1.5));
    if (transform.rotation() == 0)
        painter.drawRect(seen.boundingRect().intersected(area));
    else
        painter.drawPolygon(seen);
    painter.restore();
}

void drawSwipe(QPainter& painter, const QRectF& view, double share) {
    const double x = view.width() * share;
    painter.setPen(QPen(Qt::black, 4));
    painter.drawLine(QPointF(x, 0), QPointF(x, view.height()));
    painter.setPen(QPen(Qt::white, 2));
    painter.drawLine(QPointF(x, 0), QPointF(x, view.height()));
    const QPointF middle(x, view.height() / 2);
    painter.setBrush(kPlate);
    painter.drawEllipse(middle, 13, 13);
    painter.setBrush(kInk);
    painter.setPen(Qt::NoPen);
    for (double side : {-1.0, 1.0})
        painter.drawPolygon(QPolygonF({middle + QPointF(9 * side, 0), middle + QPointF(3 * side, 5),
                                       middle + QPointF(3 * side, -5)}));
}

void drawLens(QPainter& painter, const QPointF& at, double radius) {
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(Qt::black, 4));
    painter.drawEllipse(at, radius, radius);
    painter.setPen(QPen(Qt::white, 2));
    painter.drawEllipse(at, radius, radius);
}

void drawUpArrow(QPainter& painter, const QRectF& view, double degrees) {
    painter.save();
    painter.translate(view.right() - 34, view.top() + 34);
    painter.setPen(Qt::NoPen);
    painter.setBrush(kPlate);
    painter.drawEllipse(QPointF(0, 0), 22, 22);
    painter.save();
    painter.rotate(degrees);
    painter.setBrush(kInk);
    painter.drawPolygon(QPolygonF({QPointF(0, -15), QPointF(6, 8), QPointF(0, 4), QPointF(-6, 8)}));
    painter.restore();
    painter.restore();
}

}  // namespace atlas::ui
