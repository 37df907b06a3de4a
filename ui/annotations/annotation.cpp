// SPDX-License-Identifier: Apache-2.0
#include "ui/annotations/annotation.h"

#include <QCoreApplication>
#include <QLineF>
#include <algorithm>
#include <cmath>
#include <numbers>

namespace atlas::ui {
namespace {

constexpr int kEllipseCorners = 72;

double distanceTo(const QPointF& a, const QPointF& b, const QPointF& p) {
    const QPointF d = b - a;
    const double square = QPointF::dotProduct(d, d);
    const double t = square > 0 ? std::clamp(QPointF::dotProduct(p - a, d) / square, 0.0, 1.0) : 0;
    return QLineF(a + d * t, p).length();
}

double ringLength(const QPolygonF& ring) {
    double sum = 0;
    for (int i = 0; i < ring.size(); ++i)
        sum += QLineF(ring[i], ring[(i + 1) % ring.size()]).length();
    return sum;
}

double ringArea(const QPolygonF& ring) {
    double twice = 0;
    for (int i = 0; i < ring.size(); ++i) {
        const QPointF &a = ring[i], &b = ring[(i + 1) % ring.size()];
        twice += a.x() * b.y() - b.x() * a.y();
    }
    return std::abs(twice) / 2;
}

}  // namespace

QPainterPath Annotation::path() const {
    QPainterPath path;
    path.setFillRule(Qt::OddEvenFill);
    path.addPolygon(outline());
    if (hasArea()) path.closeSubpath();
    for (const auto& hole : holes) {
        path.addPolygon(hole);
        path.closeSubpath();
    }
    return path;
}

void Annotation::setPath(const QPainterPath& path) {
    QList<QPolygonF> rings = path.simplified().toSubpathPolygons();
    for (auto& ring : rings)
        if (ring.size() > 1 && ring.front() == ring.back()) ring.removeLast();
    rings.removeIf([](const QPolygonF& ring) { return ring.size() < 3 || ringArea(ring) <= 0; });
    if (rings.isEmpty()) return;
    shape = Shape::Polygon;
    holes.clear();
    points = *std::max_element(rings.begin(), rings.end(), [](const auto& a, const auto& b) {
        return ringArea(a) < ringArea(b);
    });
    for (const auto& ring : rings)
        if (ring != points && points.containsPoint(ring.front(), Qt::OddEvenFill))
            holes.push_back(ring);
}

QPolygonF Annotation::outline() const {
    if (points.size() < 2) return points;
    if (shape == Shape::Rectangle) {
        const QRectF r = QRectF(points[0], points[1]).normalized();
        return QPolygonF({r.topLeft(), r.topRight(), r.bottomRight(), r.bottomLeft()});
    }
    if (shape != Shape::Ellipse) return points;
    const QRectF r = QRectF(points[0], points[1]).normalized();
    QPolygonF ring;
    for (int i = 0; i < kEllipseCorners; ++i) {
        const double angle = 2 * std::numbers::pi * i / kEllipseCorners;
        ring << r.center() +
                    QPointF(r.width() / 2 * std::cos(angle), r.height() / 2 * std::sin(angle));
    }
    return ring;
}

QRectF Annotation::bounds() const {
    return points.boundingRect();
}

double Annotation::length() const {
    const QPolygonF line = outline();
    if (hasArea() && line.size() > 2) {
        double sum = ringLength(line);
        for (const auto& hole : holes) sum += ringLength(hole);
        return sum;
    }
    double sum = 0;
    for (int i = 1; i < line.size(); ++i) sum += QLineF(line[i - 1], line[i]).length();
    return sum;
}

double Annotation::area() const {
    if (!hasArea() || points.size() < 2) return 0;
    if (shape == Shape::Ellipse) {
        const QRectF r = bounds();
        return std::numbers::pi / 4 * r.width() * r.height();
    }
    double sum = ringArea(outline());
    for (const auto& hole : holes) sum -= ringArea(hole);
    return std::max(0.0, sum);
}

bool Annotation::hit(const QPointF& at, double reach) const {
    const QPolygonF line = outline();
    if (shape == Shape::Point) return !line.isEmpty() && QLineF(line[0], at).length() <= 2 * reach;
    for (int i = 1; i < line.size(); ++i)
        if (distanceTo(line[i - 1], line[i], at) <= reach) return true;
    if (!hasArea()) return false;
    return distanceTo(line.back(), line.front(), at) <= reach || path().contains(at);
}

bool Annotation::complete() const {
    if (shape == Shape::Point) return points.size() == 1;
    if (shape == Shape::Line) return points.size() >= 2 && length() > 0;
    return points.size() >= (shape == Shape::Polygon ? 3 : 2) && area() > 0;
}

QString shapeName(Annotation::Shape shape) {
    switch (shape) {
        case Annotation::Shape::Rectangle:
            return QCoreApplication::translate("Annotation", "rectangle");
        case Annotation::Shape::Polygon:
            return QCoreApplication::translate("Annotation", "polygon");
        case Annotation::Shape::Ellipse:
            return QCoreApplication::translate("Annotation", "ellipse");
        case Annotation::Shape::Line:
            return QCoreApplication::translate("Annotation", "line");
        case Annotation::Shape::Point:
            break;
    }
    return QCoreApplication::translate("Annotation", "point");
}

}  // namespace atlas::ui
