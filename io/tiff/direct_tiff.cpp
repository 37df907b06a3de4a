// SPDX-License-Identifier: Apache-2.0
#include "io/tiff/direct_tiff.h"

#include <tiffio.h>

#include <algorithm>
#include <optional>

#include "io/tiff/random_file.h"
#include "io/tiff/tile_codec.h"

namespace atlas::io {
namespace {

constexpr size_t kOwnTilesBytes = size_t{48} << 20;
constexpr int kMostDirectories = 128;
constexpr int64_t kMostTiles = int64_t{1} << 27;
constexpr uint64_t kMostTileBytes = uint64_t{64} << 20;
constexpr uint32_t kLargestTile = 8192;

constexpr int kAperioYcbcr = 33003, kAperioRgb = 33005;  // JPEG 2000, as Aperio numbers it

struct Directory {
    int64_t width = 0, height = 0;
    uint32_t tileWidth = 0, tileHeight = 0;
    TileCodec codec;
    std::vector<uint64_t> offsets, counts;

    int64_t columns() const { return (width + tileWidth - 1) / tileWidth; }
    int64_t rows() const { return (height + tileHeight - 1) / tileHeight; }
};

int silent(TIFF*, void*, const char*, const char*, va_list) {
    return 1;  // the full reader says what is wrong with a file
}

struct Closer {
    void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};

std::unique_ptr<TIFF, Closer> openQuietly(const std::string& path) {
    TIFFOpenOptions* options = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetErrorHandlerExtR(options, silent, nullptr);
    TIFFOpenOptionsSetWarningHandlerExtR(options, silent, nullptr);
    TIFF* tiff = TIFFOpenExt(path.c_str(), "rm", options);
    TIFFOpenOptionsFree(options);
    return std::unique_ptr<TIFF, Closer>(tiff);
}

std::optional<TileCodec> codecOf(TIFF* tiff, int compression, int photometric) {
    TileCodec codec;
    if (compression == COMPRESSION_JPEG) {
        codec.kind = photometric == PHOTOMETRIC_RGB     ? TileCodec::Kind::JpegRgb
                     : photometric == PHOTOMETRIC_YCBCR ? TileCodec::Kind::JpegYcbcr
                                                        : TileCodec::Kind::None;
        uint32_t length = 0;
        const void* tables = nullptr;
        if (TIFFGetField(tiff, TIFFTAG_JPEGTABLES, &length, &tables) && length > 4) {
            const auto* bytes = static_cast<const uint8_t*>(tables);
            codec.tables.assign(bytes, bytes + length);
        }
    } else if (compression == kAperioYcbcr) {
        codec.kind = TileCodec::Kind::Jpeg2000Ycbcr;
    } else if (compression == kAperioRgb) {
        codec.kind = TileCodec::Kind::Jpeg2000Rgb;
    }
    if (codec.kind == TileCodec::Kind::None) return std::nullopt;
    return codec;
}

/// The current directory, if it is one that we can read.
std::optional<Directory> readDirectory(TIFF* tiff) {
    uint32_t width = 0, height = 0, tileWidth = 0, tileHeight = 0;
    uint16_t samples = 1, bits = 1, planar = PLANARCONFIG_CONTIG, compression = 0, photometric = 0;
    if (!TIFFIsTiled(tiff) || !TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width) ||
        !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height) ||
        !TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tileWidth) ||
        !TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tileHeight))
        return std::nullopt;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    if (samples != 3 || bits != 8 || planar != PLANARCONFIG_CONTIG || width == 0 || height == 0 ||
        tileWidth < 16 || tileHeight < 16 || tileWidth > kLargestTile || tileHeight > kLargestTile)
        return std::nullopt;
    const auto codec = codecOf(tiff, compression, photometric);
    if (!codec) return std::nullopt;
    Directory d;
    d.width = width;
    d.height = height;
    d.tileWidth = tileWidth;
    d.tileHeight = tileHeight;
    d.codec = *codec;
    const int64_t count = d.columns() * d.rows();
    if (count > kMostTiles || TIFFNumberOfTiles(tiff) != static_cast<uint32_t>(count))
        return std::nullopt;
    const uint64_t *offsets = nullptr, *counts = nullptr;
    if (!TIFFGetField(tiff, TIFFTAG_TILEOFFSETS, &offsets) ||
        !TIFFGetField(tiff, TIFFTAG_TILEBYTECOUNTS, &counts) || !offsets || !counts)
        return std::nullopt;
    d.offsets.assign(offsets, offsets + count);
    d.counts.assign(counts, counts + count);
    return d;
}

}  // namespace

struct DirectTiff::File {
    RandomFile bytes;
    std::vector<Directory> levels;
};

DirectTiff::DirectTiff() : cache_(kOwnTilesBytes) {}
DirectTiff::~DirectTiff() = default;

std::unique_ptr<DirectTiff> DirectTiff::open(const std::string& path,
                                             const std::vector<Level>& levels) try {
    const auto tiff = openQuietly(path);
    if (!tiff) return nullptr;
    std::vector<std::optional<Directory>> found(levels.size());
    for (int i = 0; i < kMostDirectories; ++i) {
        if (auto directory = readDirectory(tiff.get()))
            for (size_t l = 0; l < levels.size(); ++l)
                if (!found[l] && levels[l].width == directory->width &&
                    levels[l].height == directory->height) {
                    found[l] = std::move(*directory);
                    break;
                }
        if (!TIFFReadDirectory(tiff.get())) break;
    }
    auto file = std::make_unique<File>();
    for (auto& directory : found) {
        if (!directory) return nullptr;
        file->levels.push_back(std::move(*directory));
    }
    if (!file->bytes.open(path)) return nullptr;
    std::unique_ptr<DirectTiff> result(new DirectTiff);
    result->file_ = std::move(file);
    return result;
} catch (const std::exception&) {
    return nullptr;  // hostile sizes: the full reader refuses them with a cause
}

TilePtr DirectTiff::decode(int level, int64_t column, int64_t row) const {
    const Directory& d = file_->levels[static_cast<size_t>(level)];
    const auto at = static_cast<size_t>(row * d.columns() + column);
    const uint64_t offset = d.offsets[at], count = d.counts[at];
    if (count == 0 || count > kMostTileBytes) return nullptr;
    thread_local std::vector<uint8_t> compressed;
    compressed.resize(count);
    if (!file_->bytes.read(offset, compressed.data(), count)) return nullptr;
    auto tile =
        std::make_shared<RgbaImage>(static_cast<int>(d.tileWidth), static_cast<int>(d.tileHeight));
    return d.codec.decode(compressed, *tile) ? tile : nullptr;
}

bool DirectTiff::read(int level, const Rect& part, const Rect& whole, const std::vector<int>& bands,
                      RasterBlock& block) const {
    RgbaImage image(static_cast<int>(part.width), static_cast<int>(part.height));
    if (!read(level, part, image)) return false;
    for (int64_t y = 0; y < part.height; ++y)
        for (int64_t x = 0; x < part.width; ++x) {
            const auto at =
                static_cast<size_t>((part.y - whole.y + y) * whole.width + part.x - whole.x + x);
            const uint8_t* from = image.pixel(static_cast<int>(x), static_cast<int>(y));
            block.valid[at] = 1;
            for (size_t b = 0; b < bands.size(); ++b)
                block.u8[at * bands.size() + b] = from[bands[b]];
        }
    return true;
}

bool DirectTiff::read(int level, const Rect& rect, RgbaImage& image) const {
    const Directory& d = file_->levels[static_cast<size_t>(level)];
    const int64_t tw = d.tileWidth, th = d.tileHeight;
    for (int64_t row = rect.y / th; row * th < rect.bottom(); ++row)
        for (int64_t column = rect.x / tw; column * tw < rect.right(); ++column) {
            TilePtr tile;
            try {
                tile = cache_.get({0, level, column, row}, [&] {
                    TilePtr decoded = decode(level, column, row);
                    if (!decoded) throw ReadError("no tile");
                    return decoded;
                });
            } catch (const ReadError&) {
                return false;
            }
            const Rect both = intersect(rect, {column * tw, row * th, tw, th});
            for (int64_t y = both.y; y < both.bottom(); ++y)
                std::copy_n(
                    tile->pixel(static_cast<int>(both.x - column * tw),
                                static_cast<int>(y - row * th)),
                    4 * both.width,
                    image.pixel(static_cast<int>(both.x - rect.x), static_cast<int>(y - rect.y)));
        }
    return true;
}

}  // namespace atlas::io
