// SPDX-License-Identifier: Apache-2.0
// The contexts of a run as tables and shapes for other programs. Formats: interop.md.
#pragma once

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// WSInfer's columns, in level-0 pixels. Contexts are cut to the image; those of exported models
/// are whole patches, as WSInfer writes them. Throws std::runtime_error with path and cause.
void writeCsv(const std::filesystem::path& path, const RunRecord& record,
              const io::ImageInfo& info);

/// QuPath's tiles, in level-0 pixels with the same boxes. Throws like writeCsv().
void writeQuPathTiles(const std::filesystem::path& path, const RunRecord& record,
                      const io::ImageInfo& info);

/// The same boxes for a GIS, in longitude and latitude of WGS 84 (RFC 7946): those that cross the
/// 180th meridian are cut there, those that lie beyond the projection have no geometry. Writes
/// nothing and returns false where the image has no coordinate reference system, or one of another
/// planet. Throws like writeCsv().
bool writeMapTiles(const std::filesystem::path& path, const RunRecord& record,
                   const io::ImageInfo& info);

}  // namespace atlas::engine
