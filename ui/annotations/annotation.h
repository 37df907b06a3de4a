// SPDX-License-Identifier: Apache-2.0
// A shape that the user has drawn on an image, in level-0 pixels.
#pragma once

#include <QPainterPath>
#include <QPolygonF>
#include <QString>
#include <QUuid>
#include <vector>

namespace atlas::ui {

struct Annotation {
    enum class Shape { Rectangle, Polygon, Ellipse, Line, Point };

    QUuid id = QUuid::createUuid();
    Shape shape = Shape::Polygon;
    /// Rectangle and ellipse: two opposite corners. Line and polygon: all of them, a polygon is not
    /// closed by its first one again. Point: one.
    QPolygonF points;
    std::vector<QPolygonF> holes;  ///< of a polygon, not closed either
    QString className, name, note;
    bool operator==(const Annotation&) const = default;

    /// What is drawn and exported: an ellipse becomes a polygon of 72 corners.
    QPolygonF outline() const;
    /// Outline and holes, filled odd-even.
    QPainterPath path() const;
    /// The largest outline in a path, with its holes; a polygon. Nothing of an empty path.
    void setPath(const QPainterPath& path);
    QRectF bounds() const;
    bool hasArea() const { return shape != Shape::Line && shape != Shape::Point; }
    double length() const;  ///< of a line, or around (holes too); pixels
    double area() const;    ///< pixels
    /// Does a click within `reach` pixels mean it? Lines and points by distance, others inside too.
    bool hit(const QPointF& at, double reach) const;
    /// Enough corners, and some extent.
    bool complete() const;
};

QString shapeName(Annotation::Shape shape);

}  // namespace atlas::ui
