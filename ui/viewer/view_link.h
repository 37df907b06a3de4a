// SPDX-License-Identifier: Apache-2.0
// How a place in one image is found in another: by map coordinates, by length, or by share.
#pragma once

#include <QString>

#include "io/image_source.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {

/// other = this * ratio + offset, level-0 pixels, each axis alone.
struct ViewLink {
    double ratioX = 1, ratioY = 1, offsetX = 0, offsetY = 0;
    QString by;  ///< "map coordinates", "length" or "share of the image"; for the user

    QPointF toOther(const QPointF& p) const {
        return {p.x() * ratioX + offsetX, p.y() * ratioY + offsetY};
    }
    QPointF fromOther(const QPointF& p) const {
        return {(p.x() - offsetX) / ratioX, (p.y() - offsetY) / ratioY};
    }
    /// Centre, scale and rotation of `to` become what `from` shows.
    void apply(const ViewTransform& from, ViewTransform& to) const;
    ViewLink inverse() const;

    /// Same coordinate system: by map coordinates. Both know their pixel size: from the upper left
    /// corner by length. Else by share of width and height.
    static ViewLink between(const io::ImageInfo& image, const io::ImageInfo& other);
};

}  // namespace atlas::ui
