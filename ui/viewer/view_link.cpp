// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/view_link.h"

#include <QCoreApplication>
#include <cmath>

namespace atlas::ui {

void ViewLink::apply(const ViewTransform& from, ViewTransform& to) const {
    to.setRotation(from.rotation());
    to.goTo(toOther(from.centre()), from.scale() / std::sqrt(std::abs(ratioX * ratioY)));
}

ViewLink ViewLink::inverse() const {
    return {1 / ratioX, 1 / ratioY, -offsetX / ratioX, -offsetY / ratioY, by};
}

ViewLink ViewLink::between(const io::ImageInfo& image, const io::ImageInfo& other) {
    const auto text = [](const char* what) {
        return QCoreApplication::translate("ViewLink", what);
    };
    const auto &a = image.georeference, &b = other.georeference;
    const auto upright = [](const io::GeoReference& g) {
        return g.transform[2] == 0 && g.transform[4] == 0 && g.transform[1] != 0 &&
               g.transform[5] != 0;
    };
    if (a && b && a->crsName == b->crsName && upright(*a) && upright(*b)) {
        const auto &s = a->transform, &t = b->transform;
        return {s[1] / t[1], s[5] / t[5], (s[0] - t[0]) / t[1], (s[3] - t[3]) / t[5],
                text("map coordinates")};
    }
    if (image.resolution && other.resolution)
        return {image.resolution->umPerPixelX / other.resolution->umPerPixelX,
                image.resolution->umPerPixelY / other.resolution->umPerPixelY, 0, 0,
                text("length")};
    const auto &p = image.levels[0], &q = other.levels[0];
    return {static_cast<double>(q.width) / static_cast<double>(p.width),
            static_cast<double>(q.height) / static_cast<double>(p.height), 0, 0,
            text("share of the image")};
}

}  // namespace atlas::ui
