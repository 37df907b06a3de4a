// SPDX-License-Identifier: Apache-2.0
// An image as 8-bit colour, for the viewer and the engine alike: band choice, stretch, tiles
// through the shared cache, levels made on the fly, and any physical resolution. Thread-safe.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "io/cache/tile_cache.h"
#include "io/image_source.h"

namespace atlas::io {

enum class Stretch {
    None,        ///< 0 to 255 as they are
    Percentile,  ///< lowPercent to highPercent of the values seen, nodata left out
    MinMax,
    Given
};

enum class BandMixing {
    Color,  ///< three bands as red, green, blue
    Index   ///< (first - second) / (first + second), e.g. NDVI of near infrared and red; brown to
            ///< green over -1 to 1, or as stretched
};

struct DisplaySettings {
    std::array<int, 3> bands{0, 1, 2};  ///< shown as red, green, blue; Index: the first two
    BandMixing mixing = BandMixing::Color;
    Stretch stretch = Stretch::None;
    Rect stretchArea;  ///< level-0 pixels whose values are measured; empty: the whole image
    double lowPercent = 2, highPercent = 98;
    std::array<std::array<double, 2>, 3>
        range{};  ///< low and high a channel; filled in when measured
    bool operator==(const DisplaySettings&) const = default;
};

/// True colour where the bands say so, else the first three, else grey; 8-bit colour unstretched.
DisplaySettings defaultDisplay(const ImageInfo& info);

/// Colour of an index at a share of 0 to 1 of its range: brown, white, green (ColorBrewer BrBG).
std::array<uint8_t, 3> indexColor(double share);

/// Near infrared and red by the names of the bands (or by their roles); nothing where one lacks.
std::optional<std::array<int, 2>> vegetationBands(const ImageInfo& info);

class ColorSource {
  public:
    static constexpr int kTilePx = 256;

    /// Measures the stretch from the coarsest level where it is needed. Throws ReadError.
    ColorSource(SourcePtr source, DisplaySettings settings, std::shared_ptr<TileCache> cache);
    ~ColorSource();
    ColorSource(const ColorSource&) = delete;
    ColorSource& operator=(const ColorSource&) = delete;

    const ImageInfo& info() const { return source_->info(); }
    const SourcePtr& source() const { return source_; }
    const DisplaySettings& settings() const { return settings_; }

    /// The file's levels and, below its coarsest, halves made on the fly.
    const std::vector<Level>& levels() const { return levels_; }

    /// The nearest level no coarser than `downsample`.
    int levelFor(double downsample) const;

    int64_t columns(int level) const;
    int64_t rows(int level) const;

    /// Tile of kTilePx (smaller at the right and lower border).
    TilePtr tile(int level, int64_t column, int64_t row) const;
    TilePtr cachedTile(int level, int64_t column, int64_t row) const;

    /// `rect` of a level through the cache; outside and invalid parts have alpha 0.
    RgbaImage region(int level, const Rect& rect) const;

    /// A level-0 rectangle (may be fractional and reach outside) as width x height pixels: nearest
    /// finer level, then area averaging, or Lanczos where the image is enlarged.
    RgbaImage resample(double x, double y, double w, double h, int width, int height) const;

  private:
    TilePtr load(int level, int64_t column, int64_t row) const;
    TilePtr halve(int level, int64_t column, int64_t row) const;
    void measureStretch();
    std::vector<int> bandsRead() const;
    RgbaImage colored(const RasterBlock& block) const;
    RgbaImage coloredIndex(const RasterBlock& block) const;

    SourcePtr source_;
    DisplaySettings settings_;
    std::shared_ptr<TileCache> cache_;
    uint64_t key_;
    std::vector<Level> levels_;
    size_t fileLevels_;
};

}  // namespace atlas::io
