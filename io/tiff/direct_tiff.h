// SPDX-License-Identifier: Apache-2.0
// The short way to the pixels of tiled TIFFs with JPEG or JPEG 2000 (SVS, generic tiled TIFF,
// GeoTIFF): the compressed tile is read where the directory says and decoded into 8-bit colour,
// with no compositing, no lock while decoding and no copy in between. Beside a full reader, which
// keeps the metadata and reads what this one declines. Thread-safe.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "io/cache/tile_cache.h"
#include "io/image_source.h"

namespace atlas::io {

class DirectTiff {
  public:
    /// nullptr where the file is no TIFF, or not every one of `levels` is a directory of it that
    /// can be read this way (8-bit RGB or YCbCr, tiled, one plane). Never throws.
    static std::unique_ptr<DirectTiff> open(const std::string& path,
                                            const std::vector<Level>& levels);
    ~DirectTiff();

    /// Writes the pixels of a rectangle inside the level to `image` (the size of `rect`), alpha
    /// 255. False where a tile is missing or cannot be decoded: then `image` holds rubbish.
    bool read(int level, const Rect& rect, RgbaImage& image) const;

    /// The same into the part of `block`, which covers `whole`; `bands` of 0, 1, 2.
    bool read(int level, const Rect& part, const Rect& whole, const std::vector<int>& bands,
              RasterBlock& block) const;

    /// One tile of the file, as it lies; nullptr where it cannot be had. Not cached.
    TilePtr decode(int level, int64_t column, int64_t row) const;

  private:
    DirectTiff();
    struct File;
    std::unique_ptr<File> file_;
    mutable TileCache cache_;  ///< of the file's own tiles: neighbours of ours share them
};

}  // namespace atlas::io
