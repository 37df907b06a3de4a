// SPDX-License-Identifier: Apache-2.0
// The contexts of a run as tables and shapes for other programs. Formats: interop.md.
#pragma once

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// WSInfer's columns. Throws std::runtime_error with path and cause.
void writeCsv(const std::filesystem::path& path, const RunRecord& record,
              const io::ImageInfo& info);

/// QuPath's tiles, in level-0 pixels. Throws like writeCsv().
void writeGeoJson(const std::filesystem::path& path, const RunRecord& record,
                  const io::ImageInfo& info);

}  // namespace atlas::engine
