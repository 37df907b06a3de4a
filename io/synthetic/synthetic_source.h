// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "io/image_source.h"

namespace atlas::io {

/// `synthetic:size=N,seed=S`, N from 16 to 1,000,000: a scene of no memory. Throws ReadError.
SourcePtr openSynthetic(const std::string& spec);

/// Called with the share done; false stops the writing.
using WriteProgress = bool (*)(double share, void* context);

/// Writes the scene as a tiled, pyramidal, georeferenced TIFF, and its truth beside it:
/// `<stem>.truth.tif` (class numbers, 16 px a cell, class names and colours).
/// Both are written under temporary names and renamed. Throws ReadError.
void writeSample(int64_t size, uint64_t seed, const std::string& path,
                 WriteProgress progress = nullptr, void* context = nullptr);

}  // namespace atlas::io
