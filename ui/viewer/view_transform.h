// SPDX-License-Identifier: Apache-2.0
// Which part of an image is on the screen. Pure mathematics: level-0 pixels to view pixels.
#pragma once

#include <QPointF>
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

    double scale() const { return scale_; }     ///< view pixels a level-0 pixel
    QPointF centre() const { return centre_; }  ///< level-0 pixels

    QPointF viewFromImage(const QPointF& p) const;
    QPointF imageFromView(const QPointF& p) const;
    QRectF viewFromImage(const QRectF& r) const;
    QRectF visibleImageRect() const;

    /// The whole image, with a little room around.
    void fit();
    double fitScale() const;
    void pan(const QPointF& viewDelta);
    /// Keeps the image point under `anchor` (view pixels) where it is.
    void zoom(double factor, const QPointF& anchor);
    /// Keeps the image on the screen.
    void goTo(const QPointF& centre, double scale);

  private:
    void clamp();

    QSizeF view_{1, 1}, image_{1, 1};
    QPointF centre_{0, 0};
    double scale_ = 1;
};

}  // namespace atlas::ui
