// SPDX-License-Identifier: Apache-2.0
// From mouse events to annotations: drawing, and moving the corners of the selected one.
#pragma once

#include <QPainter>
#include <functional>
#include <optional>

#include "ui/annotations/annotation_store.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {

enum class Tool { Move, Rectangle, Probe, Polygon, Ellipse, Line, Point, Brush };

/// Length and area of an annotation in words.
using MeasureText = std::function<QString(const Annotation&)>;

class AnnotationTool {
  public:
    void setStore(AnnotationStore* store) { store_ = store; }
    AnnotationStore* store() const { return store_; }
    static bool draws(Tool tool) { return tool >= Tool::Polygon; }
    void setClass(const QString& name) { className_ = name; }
    const QString& className() const { return className_; }

    /// Image points; `reach` is a comfortable distance in image pixels. Each says whether it took
    /// the event.
    /// `erase`: the brush takes away from the selected annotation; else, begun inside it, it adds.
    bool press(Tool tool, const QPointF& at, double reach, bool erase = false);
    bool move(Tool tool, const QPointF& at, double reach);
    bool release(Tool tool, const QPointF& at, double reach);
    bool doubleClick(Tool tool);
    void cancel();
    bool drawing() const { return draft_.has_value(); }

    void paint(QPainter& painter, const ViewTransform& transform, const QRectF& view,
               const MeasureText& measure) const;

  private:
    void finish();
    void brush();
    int cornerAt(const Annotation& annotation, const QPointF& at, double reach) const;
    void paintOne(QPainter& painter, const ViewTransform& transform, const Annotation& annotation,
                  const QColor& color, bool selected) const;

    AnnotationStore* store_ = nullptr;
    std::optional<Annotation> draft_;   ///< being drawn
    std::optional<Annotation> edited_;  ///< the selected one, a corner of it on the move
    int corner_ = -1;
    bool dragged_ = false;
    QPointF pressed_;
    QPolygonF stroke_;  ///< of the brush
    double brushRadius_ = 1;
    std::optional<Annotation> before_;  ///< what the brush changes
    bool erases_ = false;
    QString className_;
};

}  // namespace atlas::ui
