// SPDX-License-Identifier: Apache-2.0
// Finds the reader of a file. Thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

enum class AlphaChoice { Auto, Believe, Ignore };

struct OpenOptions {
    AlphaChoice alpha = AlphaChoice::Auto;  ///< what a band tagged as alpha is taken for
    bool direct = true;  ///< decode the tiles of TIFFs ourselves where we can (DirectTiff)
};

/// Opens a slide, raster, sub-dataset name (NETCDF:"file":variable), an http(s) URL of a raster (of
/// which only what is asked for is fetched, where its format allows) or
/// `synthetic:size=N,seed=S`. Throws ReadError with path and every reader's cause.
SourcePtr openImage(const std::string& path, const OpenOptions& options = {});

/// True for names of files worth trying in a folder listing (by extension; cheap).
bool looksLikeImage(const std::filesystem::path& path);

/// One line a reader: name, version, codecs.
std::vector<std::string> readerVersions();

/// Compressions and formats that users meet, and whether this GDAL has a driver for them.
struct RasterCodecs {
    std::vector<std::string> present, missing;
};
RasterCodecs rasterCodecs();

/// A resolution tag that writers fill in by default (72 dpi, 1 px/mm ...), or that no microscope
/// has: not believed.
bool isDefaultResolution(double umPerPixel);

}  // namespace atlas::io
