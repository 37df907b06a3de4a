// SPDX-License-Identifier: Apache-2.0
// Annotations as GeoJSON that QuPath reads, and QuPath's as ours.
#pragma once

#include <QColor>
#include <QMap>
#include <vector>

#include "ui/annotations/annotation.h"

namespace atlas::ui {

struct AnnotationSet {
    std::vector<Annotation> annotations;
    QMap<QString, QColor> classColors;
};

/// One FeatureCollection in level-0 pixels; classes with colours; shape, name and note kept.
QByteArray toGeoJson(const AnnotationSet& set);

/// Features and geometries of any nesting. Throws std::runtime_error with the place and the cause.
AnnotationSet fromGeoJson(const QByteArray& text);

/// Writes under a temporary name, flushes, then renames: at any moment the old or the new file is
/// there, whole. Throws std::runtime_error with path and cause.
void saveAnnotations(const QString& path, const AnnotationSet& set);
AnnotationSet loadAnnotations(const QString& path);

}  // namespace atlas::ui
