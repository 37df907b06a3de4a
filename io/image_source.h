// SPDX-License-Identifier: Apache-2.0
// An open image: levels, resolution, georeference, bands, and raw pixels of any region.
//
//     auto source = io::openImage("slide.svs", {});
//     io::RasterBlock block = source->readRegion(0, {0, 0, 512, 512}, {0, 1, 2});
//
// Coordinates are int64 level pixels, origin top left. All methods are thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace atlas::io {

/// A file that cannot be opened or read; the text names path, place and cause.
class ReadError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Rect {
    int64_t x = 0, y = 0, width = 0, height = 0;

    bool empty() const { return width <= 0 || height <= 0; }
    int64_t right() const { return x + width; }
    int64_t bottom() const { return y + height; }
    bool operator==(const Rect&) const = default;
};

Rect intersect(const Rect& a, const Rect& b);

struct Level {
    int64_t width = 0, height = 0;
    double downsample = 1;  ///< level-0 pixels a pixel of this level
    int tileWidth = 256, tileHeight = 256;
};

enum class SampleType { UInt8, UInt16, Int16, UInt32, Int32, Float32, Float64, Other };
const char* sampleTypeName(SampleType type);

enum class BandRole { Grey, Red, Green, Blue, NearInfrared, Alpha, Palette, Other };

struct Band {
    std::string name;
    BandRole role = BandRole::Other;
    std::optional<double> nodata = {};
    /// What the stored numbers stand for: number * scale + offset. nodata is a stored number.
    double scale = 1, offset = 0;
    bool isScaled() const { return scale != 1 || offset != 0; }
};

/// Size of a pixel on the ground or on the slide.
struct Resolution {
    double umPerPixelX = 0, umPerPixelY = 0;
    bool ground = false;  ///< shown in metres rather than micrometres
    std::string origin;   ///< where it was read, e.g. "aperio.MPP" or "geotransform"
};

struct GeoReference {
    std::array<double, 6> transform{};  ///< GDAL's order: map from pixel
    std::string crsName;                ///< e.g. "EPSG:32618, WGS 84 / UTM zone 18N"
    std::string wkt;
    bool geographic = false;  ///< coordinates in degrees

    std::array<double, 2> mapFromPixel(double x, double y) const;
};

struct ImageInfo {
    std::string path;
    std::string reader;  ///< "OpenSlide 4.0.1", "GDAL 3.6.2 GTiff", "synthetic"
    std::string format;
    std::vector<Level> levels;  ///< at least one; level 0 is full resolution
    SampleType type = SampleType::UInt8;
    std::vector<Band> bands;
    std::optional<Resolution> resolution;
    std::optional<GeoReference> georeference;
    Rect bounds;             ///< non-empty part in level-0 pixels, for slides that know it
    bool slide = false;      ///< a microscope slide: tissue on a bright background
    bool maskBand = false;   ///< validity comes from a mask band of the file
    std::string iccProfile;  ///< as the file has it; empty: none
    std::vector<std::string> associatedImages;
    std::vector<std::string> subdatasets;
    std::map<std::string, std::string> properties;
    std::vector<std::string> warnings;  ///< e.g. a resolution tag that was not believed
};

/// Interleaved samples of a region with a validity mask.
struct RasterBlock {
    int width = 0, height = 0, bands = 0;
    bool isFloat = false;        ///< samples are in f32 (all types but uint8), else in u8
    std::vector<uint8_t> u8;     ///< [height, width, bands]
    std::vector<float> f32;      ///< [height, width, bands]
    std::vector<uint8_t> valid;  ///< [height, width]: 0 = nodata, masked, unreadable or outside

    RasterBlock() = default;
    RasterBlock(int w, int h, int b, bool real);
    size_t bytes() const { return u8.size() + f32.size() * sizeof(float) + valid.size(); }
    float sample(int x, int y, int band) const {
        const size_t i = (static_cast<size_t>(y) * width + x) * bands + band;
        return isFloat ? f32[i] : static_cast<float>(u8[i]);
    }
};

/// 8-bit colour with alpha as validity, row by row.
struct RgbaImage {
    int width = 0, height = 0;
    std::vector<uint8_t> rgba;

    RgbaImage() = default;
    RgbaImage(int w, int h) : width(w), height(h), rgba(static_cast<size_t>(w) * h * 4) {}
    uint8_t* pixel(int x, int y) { return rgba.data() + (static_cast<size_t>(y) * width + x) * 4; }
    const uint8_t* pixel(int x, int y) const {
        return rgba.data() + (static_cast<size_t>(y) * width + x) * 4;
    }
};

class ImageSource {
  public:
    virtual ~ImageSource() = default;

    virtual const ImageInfo& info() const = 0;

    /// Samples of `bands` (indices) in `rect` of `level`. Parts outside of the level, nodata and
    /// unreadable tiles are marked invalid; unreadable ones are also counted by damage().
    /// Throws ReadError for a request that makes no sense (level, band, above 2^28 pixels).
    virtual RasterBlock readRegion(int level, const Rect& rect,
                                   const std::vector<int>& bands) const = 0;

    /// The fast way to 8-bit colour, where a file has one: fills `image` (the size of `rect`, which
    /// lies inside the level) with bands 0, 1, 2 and alpha, the same as readRegion() would give.
    /// False: readRegion() has to be asked. Throws like it.
    virtual bool readColor(int level, const Rect& rect, RgbaImage& image) const;

    /// False where the file says, without reading pixels, that a part of level 0 holds none that
    /// are valid; true where there may be some. The rectangle lies inside of the level.
    virtual bool mayHoldData(const Rect&) const { return true; }

    /// Label, macro or thumbnail by name; throws ReadError.
    virtual RgbaImage associatedImage(const std::string& name) const;

    /// One sentence a kind of damage met so far while reading; empty for a sound file.
    virtual std::vector<std::string> damage() const { return {}; }

    /// How many tiles, strips or blocks of the file could not be read so far, each counted once.
    virtual int64_t unreadableParts() const { return 0; }

    int levelCount() const { return static_cast<int>(info().levels.size()); }

  protected:
    /// Checks a request; throws ReadError.
    void checkRequest(int level, const Rect& rect, const std::vector<int>& bands) const;
};

using SourcePtr = std::shared_ptr<const ImageSource>;

}  // namespace atlas::io
