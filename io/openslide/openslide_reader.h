// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "io/image_source.h"

namespace atlas::io {

/// OpenSlide's name of the format, or empty if it does not know the file.
std::string openSlideVendor(const std::string& path);

/// Throws ReadError.
SourcePtr openOpenSlide(const std::string& path, bool direct);

std::string openSlideVersion();

}  // namespace atlas::io
