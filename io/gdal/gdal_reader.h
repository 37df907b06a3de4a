// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "io/image_source.h"
#include "io/reader_registry.h"

namespace atlas::io {

/// Throws ReadError with path and GDAL's own cause.
SourcePtr openGdal(const std::string& path, const OpenOptions& options);

std::string gdalVersion();
/// Is a driver of that name (such as JP2OpenJPEG) part of this GDAL?
bool gdalHasDriver(const char* name);

}  // namespace atlas::io
