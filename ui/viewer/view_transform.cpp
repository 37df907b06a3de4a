// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/view_transform.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace atlas::ui {

void ViewTransform::setRotation(double degrees) {
    degrees_ = std::fmod(degrees, 360.0);
    if (degrees_ < 0) degrees_ += 360;
    const double quarters = degrees_ / 90;
    if (quarters == std::floor(quarters)) {  // exactly, so that pixels stay on pixels
        constexpr double kCos[] = {1, 0, -1, 0}, kSin[] = {0, 1, 0, -1};
        cos_ = kCos[static_cast<int>(quarters) % 4];
        sin_ = kSin[static_cast<int>(quarters) % 4];
        return;
    }
    cos_ = std::cos(degrees_ * std::numbers::pi / 180);
    sin_ = std::sin(degrees_ * std::numbers::pi / 180);
}

QPointF ViewTransform::turned(const QPointF& v) const {
    return {v.x() * cos_ - v.y() * sin_, v.x() * sin_ + v.y() * cos_};
}

QPointF ViewTransform::turnedBack(const QPointF& v) const {
    return {v.x() * cos_ + v.y() * sin_, v.y() * cos_ - v.x() * sin_};
}

QPointF ViewTransform::viewFromImage(const QPointF& p) const {
    return turned((p - centre_) * scale_) + QPointF(view_.width() / 2, view_.height() / 2);
}

QPointF ViewTransform::imageFromView(const QPointF& p) const {
    return turnedBack(p - QPointF(view_.width() / 2, view_.height() / 2)) / scale_ + centre_;
}

QPolygonF ViewTransform::viewFromImage(const QRectF& r) const {
    return QPolygonF({viewFromImage(r.topLeft()), viewFromImage(r.topRight()),
                      viewFromImage(r.bottomRight()), viewFromImage(r.bottomLeft())});
}

QRectF ViewTransform::unturned(const QRectF& r) const {
    return {(r.topLeft() - centre_) * scale_ + QPointF(view_.width() / 2, view_.height() / 2),
            r.size() * scale_};
}

QPolygonF ViewTransform::visibleImageArea() const {
    return QPolygonF({imageFromView({0, 0}), imageFromView({view_.width(), 0}),
                      imageFromView({view_.width(), view_.height()}),
                      imageFromView({0, view_.height()})});
}

QRectF ViewTransform::visibleImageRect() const {
    return visibleImageArea().boundingRect().intersected(QRectF(QPointF(0, 0), image_));
}

double ViewTransform::fitScale() const {
    const double w = std::abs(image_.width() * cos_) + std::abs(image_.height() * sin_),
                 h = std::abs(image_.width() * sin_) + std::abs(image_.height() * cos_);
    return 0.96 * std::min(view_.width() / std::max(1.0, w), view_.height() / std::max(1.0, h));
}

void ViewTransform::fit() {
    scale_ = std::min(fitScale(), kMaxScale);
    centre_ = {image_.width() / 2, image_.height() / 2};
}

void ViewTransform::pan(const QPointF& viewDelta) {
    centre_ -= turnedBack(viewDelta) / scale_;
    clamp();
}

void ViewTransform::zoom(double factor, const QPointF& anchor) {
    const QPointF fixed = imageFromView(anchor);
    scale_ = std::clamp(scale_ * factor, std::min(fitScale() / 4, kMaxScale), kMaxScale);
    centre_ += fixed - imageFromView(anchor);
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
