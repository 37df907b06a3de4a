// SPDX-License-Identifier: Apache-2.0
// One compressed tile to 8-bit RGBA, by libjpeg-turbo or OpenJPEG.
#pragma once

#include <cstdint>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

struct TileCodec {
    enum class Kind { None, JpegRgb, JpegYcbcr, Jpeg2000Rgb, Jpeg2000Ycbcr };
    Kind kind = Kind::None;
    std::vector<uint8_t> tables;  ///< JPEG tables that the tiles of a directory share

    /// Fills `tile`, whose size is the one expected; false where the data are broken or have
    /// another size. Thread-safe.
    bool decode(const std::vector<uint8_t>& compressed, RgbaImage& tile) const;
};

}  // namespace atlas::io
