// SPDX-License-Identifier: Apache-2.0
// Annotations in the files of GIS programs, by map coordinates.
#pragma once

#include "io/image_source.h"
#include "ui/annotations/annotation_file.h"

namespace atlas::ui {

/// Reprojects to the image; `note` says what was left out. Throws std::runtime_error.
AnnotationSet loadVectorFile(const QString& path, const io::GeoReference& image, QString* note);
/// .gpkg or .shp. Throws std::runtime_error.
void saveVectorFile(const QString& path, const AnnotationSet& set, const io::GeoReference& image);

}  // namespace atlas::ui
