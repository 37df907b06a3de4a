// SPDX-License-Identifier: Apache-2.0
// Which part of an image is on the screen. Pure mathematics: level-0 pixels to view pixels.
// The view is the image scaled, then turned clockwise around its own middle.
#pragma once

#include <QPointF>
#include <QPolygonF>
#include <QRectF>
#include <QSizeF>

namespace atlas::ui {

class ViewTransform {
  public:
    static constexpr double kMaxScale = 40;  ///< view pixels a level-0 pixel

    void setViewSize(const QSizeF& size) { view_ = size; }
    void setImageSize(const QSizeF& size) { image_ = size; }
    QSizeF viewSize() const { return view_; }
    QSizeF imageSize() const { return image_; }

    double scale() const { return scale_; }       ///< view pixels a level-0 pixel
    QPointF centre() const { return centre_; }    ///< level-0 pixels
    double rotation() const { return degrees_; }  ///< clockwise, [0, 360)
    void setRotation(double degrees);
    double cosine() const { return cos_; }
    double sine() const { return sin_; }

    QPointF viewFromImage(const QPointF& p) const;
    QPointF imageFromView(const QPointF& p) const;
    /// The four corners on the screen.
    QPolygonF viewFromImage(const QRectF& r) const;
    /// Where the rectangle would be if the view were not turned.
    QRectF unturned(const QRectF& r) const;
    /// The smallest upright rectangle of the image that holds all that is on the screen.
    QRectF visibleImageRect() const;
    /// Exactly what is on the screen, image pixels; may reach outside the image.
    QPolygonF visibleImageArea() const;

    /// The whole image, with a little room around; the rotation stays.
    void fit();
    double fitScale() const;
    void pan(const QPointF& viewDelta);
    /// Keeps the image point under `anchor` (view pixels) where it is.
    void zoom(double factor, const QPointF& anchor);
    /// Keeps the image on the screen.
    void goTo(const QPointF& centre, double scale);

  private:
    void clamp();
    QPointF turned(const QPointF& v) const;
    QPointF turnedBack(const QPointF& v) const;

    QSizeF view_{1, 1}, image_{1, 1};
    QPointF centre_{0, 0};
    double scale_ = 1, degrees_ = 0, cos_ = 1, sin_ = 0;
};

}  // namespace atlas::ui
