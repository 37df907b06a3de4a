// SPDX-License-Identifier: Apache-2.0
#include "ui/annotations/annotation_tool.h"

#include <QLineF>
#include <QPainterPath>
#include <QPainterPathStroker>
#include <algorithm>

namespace atlas::ui {
namespace {

constexpr double kBrushReach = 3;  // radius of the brush in multiples of the reach
constexpr double kHandle = 4;      // view pixels

Annotation::Shape shapeOf(Tool tool) {
    switch (tool) {
        case Tool::Ellipse:
            return Annotation::Shape::Ellipse;
        case Tool::Line:
            return Annotation::Shape::Line;
        case Tool::Point:
            return Annotation::Shape::Point;
        default:
            return Annotation::Shape::Polygon;
    }
}

/// What a stroke covers.
QPainterPath strokePath(const QPolygonF& stroke, double radius) {
    QPainterPath path(stroke.front());
    for (int i = 1; i < stroke.size(); ++i) path.lineTo(stroke[i]);
    if (stroke.size() == 1) path.lineTo(stroke.front() + QPointF(radius / 50, 0));
    QPainterPathStroker stroker;
    stroker.setWidth(2 * radius);
    stroker.setCapStyle(Qt::RoundCap);
    stroker.setJoinStyle(Qt::RoundJoin);
    stroker.setCurveThreshold(radius / 20);
    QPainterPath covered = stroker.createStroke(path);
    covered.setFillRule(Qt::WindingFill);
    return covered.simplified();
}

}  // namespace

int AnnotationTool::cornerAt(const Annotation& a, const QPointF& at, double reach) const {
    for (int i = 0; i < a.points.size(); ++i)
        if (QLineF(a.points[i], at).length() <= reach) return i;
    return -1;
}

bool AnnotationTool::press(Tool tool, const QPointF& at, double reach, bool erase) {
    if (!store_) return false;
    erases_ = erase;
    before_.reset();
    pressed_ = at;
    dragged_ = false;
    if (!draws(tool)) {
        if (tool != Tool::Move) return false;
        const Annotation* selected = store_->find(store_->selected());
        corner_ = selected ? cornerAt(*selected, at, reach) : -1;
        if (corner_ < 0) return false;
        edited_ = *selected;
        return true;
    }
    if (!draft_) {
        draft_ = Annotation();
        draft_->shape = shapeOf(tool);
        draft_->className = className_;
        draft_->points << at;
        if (tool == Tool::Ellipse || tool == Tool::Line) draft_->points << at;
        if (tool == Tool::Brush) {
            stroke_ = QPolygonF({at});
            brushRadius_ = kBrushReach * reach;
            const Annotation* selected = store_->find(store_->selected());
            if (selected && selected->hasArea() && (erase || selected->path().contains(at)))
                before_ = *selected;  // goes on with it, as QuPath's brush does
            brush();
        }
        if (tool == Tool::Point) finish();
        return true;
    }
    if (tool == Tool::Polygon) {
        if (draft_->points.size() > 2 && QLineF(draft_->points.front(), at).length() <= reach)
            finish();  // back at the first corner
        else
            draft_->points << at;
    }
    return true;
}

bool AnnotationTool::move(Tool tool, const QPointF& at, double reach) {
    if (edited_) {
        edited_->points[corner_] = at;
        dragged_ = true;
        return true;
    }
    if (!draft_) return false;
    if (QLineF(pressed_, at).length() > reach) dragged_ = true;
    if (tool == Tool::Ellipse || tool == Tool::Line) {
        draft_->points.back() = at;
    } else if (tool == Tool::Brush) {
        if (QLineF(stroke_.back(), at).length() > brushRadius_ / 4) {
            stroke_ << at;
            brush();
        }
    } else if (tool == Tool::Polygon && QLineF(draft_->points.back(), at).length() > reach / 2) {
        draft_->points << at;  // freehand while the button is down
    }
    return true;
}

bool AnnotationTool::release(Tool tool, const QPointF&, double) {
    if (edited_) {
        if (dragged_) store_->replace(*edited_);
        edited_.reset();
        corner_ = -1;
        return true;
    }
    if (!draft_) return draws(tool);
    if (tool == Tool::Brush || ((tool == Tool::Ellipse || tool == Tool::Line) && dragged_))
        finish();
    else if (tool == Tool::Polygon && dragged_ && draft_->points.size() > 8)
        finish();  // drawn freehand
    else if (tool == Tool::Ellipse || tool == Tool::Line)
        cancel();
    return true;
}

/// The draft from the stroke so far.
void AnnotationTool::brush() {
    const QPainterPath stroke = strokePath(stroke_, brushRadius_);
    if (!before_) return draft_->setPath(stroke);
    draft_ = before_;
    const QPainterPath path =
        erases_ ? before_->path().subtracted(stroke) : before_->path().united(stroke);
    draft_->setPath(path);
    if (path.isEmpty()) draft_->points.clear();  // all rubbed out
}

bool AnnotationTool::doubleClick(Tool tool) {
    if (!draft_ || tool != Tool::Polygon) return draws(tool);
    finish();
    return true;
}

void AnnotationTool::cancel() {
    draft_.reset();
    edited_.reset();
    before_.reset();
    corner_ = -1;
}

void AnnotationTool::finish() {
    const Annotation done = *draft_;
    const bool changes = before_.has_value();
    draft_.reset();
    before_.reset();
    if (!changes)
        store_->add(done);
    else if (done.complete())
        store_->replace(done);
    else
        store_->remove(done.id);
}

void AnnotationTool::paintOne(QPainter& painter, const ViewTransform& transform,
                              const Annotation& a, const QColor& color, bool selected) const {
    QPolygonF line;
    for (const auto& p : a.outline()) line << transform.viewFromImage(p);
    QPainterPath area;
    area.setFillRule(Qt::OddEvenFill);
    area.addPolygon(line);
    area.closeSubpath();
    for (const auto& hole : a.holes) {
        QPolygonF ring;
        for (const auto& p : hole) ring << transform.viewFromImage(p);
        area.addPolygon(ring);
        area.closeSubpath();
    }
    const auto draw = [&](const QPen& pen) {
        painter.setPen(pen);
        if (a.shape == Annotation::Shape::Point)
            painter.drawEllipse(line.value(0), 5, 5);
        else if (a.hasArea())
            painter.drawPath(area);
        else
            painter.drawPolyline(line);
    };
    QColor fill = color;
    fill.setAlpha(a.hasArea() || a.shape == Annotation::Shape::Point ? 40 : 0);
    painter.setBrush(Qt::NoBrush);
    draw(QPen(QColor(0, 0, 0, 160), selected ? 5 : 3.5));
    painter.setBrush(fill);
    draw(QPen(color, selected ? 3 : 1.8));
    if (!selected) return;
    painter.setPen(QPen(Qt::black, 1));
    painter.setBrush(Qt::white);
    if (a.points.size() <= 400)
        for (const auto& p : a.points) {
            const QPointF v = transform.viewFromImage(p);
            painter.drawRect(QRectF(v.x() - kHandle, v.y() - kHandle, 2 * kHandle, 2 * kHandle));
        }
}

void AnnotationTool::paint(QPainter& painter, const ViewTransform& transform, const QRectF& view,
                           const MeasureText& measure) const {
    if (!store_) return;
    const QRectF seen = transform.visibleImageRect();
    const double margin = 10 / transform.scale();
    for (const auto& a : store_->all()) {
        if ((edited_ && a.id == edited_->id) || (before_ && a.id == before_->id)) continue;
        if (!a.bounds().adjusted(-margin, -margin, margin, margin).intersects(seen)) continue;
        paintOne(painter, transform, a, store_->colorOf(a), a.id == store_->selected());
    }
    const auto& live = draft_ ? draft_ : edited_;
    const Annotation* labelled = live ? &*live : store_->find(store_->selected());
    if (live) paintOne(painter, transform, *live, store_->colorOf(*live), true);
    if (!labelled || labelled->points.isEmpty()) return;
    const QString text = measure(*labelled);
    if (text.isEmpty()) return;
    const QPointF at = transform.viewFromImage(labelled->points.back()) + QPointF(12, -12);
    QRectF box = painter.fontMetrics().boundingRect(text).adjusted(-6, -3, 6, 3);
    box.moveBottomLeft(at);
    if (box.right() > view.right()) box.moveRight(view.right());
    if (box.top() < view.top()) box.moveTop(view.top());
    painter.setPen(Qt::NoPen);
    painter.setBrush(QColor(20, 20, 22, 205));
    painter.drawRoundedRect(box, 3, 3);
    painter.setPen(QColor(238, 238, 238));
    painter.drawText(box, Qt::AlignCenter, text);
}

}  // namespace atlas::ui
