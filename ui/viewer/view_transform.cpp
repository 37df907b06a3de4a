// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/view_transform.h"

#include <algorithm>

namespace atlas::ui {

QPointF ViewTransform::viewFromImage(const QPointF& p) const {
    return {(p.x() - centre_.x()) * scale_ + view_.width() / 2,
            (p.y() - centre_.y()) * scale_ + view_.height() / 2};
}

QPointF ViewTransform::imageFromView(const QPointF& p) const {
    return {(p.x() - view_.width() / 2) / scale_ + centre_.x(),
            (p.y() - view_.height() / 2) / scale_ + centre_.y()};
}

QRectF ViewTransform::viewFromImage(const QRectF& r) const {
    return {viewFromImage(r.topLeft()), r.size() * scale_};
}

QRectF ViewTransform::visibleImageRect() const {
    return QRectF(imageFromView(QPointF(0, 0)), view_ / scale_)
        .intersected(QRectF(QPointF(0, 0), image_));
}

double ViewTransform::fitScale() const {
    return 0.96 * std::min(view_.width() / std::max(1.0, image_.width()),
                           view_.height() / std::max(1.0, image_.height()));
}

void ViewTransform::fit() {
    scale_ = std::min(fitScale(), kMaxScale);
    centre_ = {image_.width() / 2, image_.height() / 2};
}

void ViewTransform::pan(const QPointF& viewDelta) {
    centre_ -= viewDelta / scale_;
    clamp();
}

void ViewTransform::zoom(double factor, const QPointF& anchor) {
    const QPointF fixed = imageFromView(anchor);
    scale_ = std::clamp(scale_ * factor, std::min(fitScale() / 4, kMaxScale), kMaxScale);
    centre_ = fixed - (anchor - QPointF(view_.width() / 2, view_.height() / 2)) / scale_;
    clamp();
}

void ViewTransform::goTo(const QPointF& centre, double scale) {
    scale_ = std::clamp(scale, std::min(fitScale() / 4, kMaxScale), kMaxScale);
    centre_ = centre;
    clamp();
}

void ViewTransform::clamp() {
    centre_.setX(std::clamp(centre_.x(), 0.0, image_.width()));
    centre_.setY(std::clamp(centre_.y(), 0.0, image_.height()));
}

}  // namespace atlas::ui
