// SPDX-License-Identifier: Apache-2.0
#include "ui/annotations/annotation_vectors.h"

#include <QCoreApplication>

#include "engine/nn/model_config.h"
#include "io/vector_file.h"

namespace atlas::ui {
namespace {

using Kind = io::VectorFeature::Kind;

QPolygonF polygonOf(const io::VectorFeature::Ring& ring) {
    QPolygonF polygon;
    for (const auto& p : ring) polygon << QPointF(p[0], p[1]);
    return polygon;
}

io::VectorFeature::Ring ringOf(const QPolygonF& polygon) {
    io::VectorFeature::Ring ring;
    for (const auto& p : polygon) ring.push_back({p.x(), p.y()});
    return ring;
}

}  // namespace

AnnotationSet loadVectorFile(const QString& path, const io::GeoReference& image, QString* note) {
    int leftOut = 0;
    AnnotationSet set;
    for (const auto& f : io::readVectors(path.toStdString(), image, &leftOut)) {
        Annotation a;
        a.shape = f.kind == Kind::Point  ? Annotation::Shape::Point
                  : f.kind == Kind::Line ? Annotation::Shape::Line
                                         : Annotation::Shape::Polygon;
        a.points = polygonOf(f.rings.front());
        for (size_t i = 1; i < f.rings.size(); ++i) a.holes.push_back(polygonOf(f.rings[i]));
        a.className = QString::fromStdString(f.className);
        a.name = QString::fromStdString(f.name);
        a.note = QString::fromStdString(f.note);
        if (!a.complete()) {
            ++leftOut;
            continue;
        }
        if (!a.className.isEmpty() && !set.classColors.contains(a.className)) {
            const auto next = static_cast<size_t>(set.classColors.size());
            const auto c = engine::defaultClassColors(next + 1).back();
            set.classColors[a.className] = QColor(c[0], c[1], c[2]);
        }
        set.annotations.push_back(a);
    }
    if (note && leftOut > 0)
        *note = QCoreApplication::translate("Annotations",
                                            "%1 shapes without a place on the image "
                                            "were left out")
                    .arg(leftOut);
    return set;
}

void saveVectorFile(const QString& path, const AnnotationSet& set, const io::GeoReference& image) {
    std::vector<io::VectorFeature> features;
    for (const auto& a : set.annotations) {
        io::VectorFeature f;
        f.kind = a.shape == Annotation::Shape::Point  ? Kind::Point
                 : a.shape == Annotation::Shape::Line ? Kind::Line
                                                      : Kind::Polygon;
        f.rings.push_back(ringOf(a.outline()));
        for (const auto& hole : a.holes) f.rings.push_back(ringOf(hole));
        f.className = a.className.toStdString();
        f.name = a.name.toStdString();
        f.note = a.note.toStdString();
        features.push_back(std::move(f));
    }
    io::writeVectors(path.toStdString(), features, image);
}

}  // namespace atlas::ui
