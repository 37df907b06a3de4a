// SPDX-License-Identifier: Apache-2.0
#include "io/gdal/gdal_reader.h"

#include <cpl_conv.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "io/damage_log.h"
#include "io/gdal/gdal_info.h"
#include "io/tiff/direct_tiff.h"

namespace atlas::io {
namespace {

constexpr int kMaxBands = 4096;
constexpr int kMostBandsAsked = 16;  // whether they hold data somewhere
constexpr int64_t kMaxBlockBytes = int64_t{128} << 20;
constexpr size_t kHandles = 4;            // datasets are not thread-safe: a small pool a file
constexpr int64_t kSmallestDamage = 256;  // px; GDAL caches whole blocks anyway

Dataset openDataset(const std::string& path) {
    initialiseGdal();
    GdalMessages messages;
    // On a server there is no folder to list, and a guess at side files costs a request each.
    const bool remote = path.starts_with("/vsicurl/");
    if (remote) CPLSetThreadLocalConfigOption("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR");
    Dataset dataset(GDALOpenEx(path.c_str(),
                               GDAL_OF_RASTER | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, nullptr,
                               nullptr, nullptr));
    if (remote) CPLSetThreadLocalConfigOption("GDAL_DISABLE_READDIR_ON_OPEN", nullptr);
    if (!dataset) throw ReadError(path + ": " + messages.cause("no reader knows this file"));
    return dataset;
}

BandRole roleOf(GDALRasterBandH band) {
    switch (GDALGetRasterColorInterpretation(band)) {
        case GCI_GrayIndex:
            return BandRole::Grey;
        case GCI_RedBand:
            return BandRole::Red;
        case GCI_GreenBand:
            return BandRole::Green;
        case GCI_BlueBand:
            return BandRole::Blue;
        case GCI_AlphaBand:
            return BandRole::Alpha;
        case GCI_PaletteIndex:
            return BandRole::Palette;
        default:
            return BandRole::Other;
    }
}

const char* roleName(BandRole role) {
    switch (role) {
        case BandRole::Grey:
            return "grey";
        case BandRole::Red:
            return "red";
        case BandRole::Green:
            return "green";
        case BandRole::Blue:
            return "blue";
        case BandRole::NearInfrared:
            return "near infrared";
        case BandRole::Alpha:
            return "alpha";
        case BandRole::Palette:
            return "palette";
        case BandRole::Other:
            break;
    }
    return "";
}

class GdalSource : public ImageSource {
  public:
    GdalSource(std::string path, const OpenOptions& options) : path_(std::move(path)) {
        Dataset dataset = openDataset(path_);
        if (GDALGetRasterCount(dataset.get()) < 1) dataset = openFirstSubdataset(dataset.get());
        info_.path = path_;
        GDALDatasetH handle = dataset.get();
        info_.format = GDALGetDriverShortName(GDALGetDatasetDriver(handle));
        info_.reader = gdalVersion() + " " + info_.format;
        info_.type = sampleTypeOf(handle);
        readLevels(handle);
        readBands(handle);
        info_.georeference = georeferenceOf(handle);
        info_.resolution = resolutionOf(handle, info_.georeference, info_.warnings);
        info_.iccProfile = iccProfileOf(handle);
        compressed_ = GDALGetMetadataItem(handle, "COMPRESSION", "IMAGE_STRUCTURE") != nullptr;
        for (char** item = GDALGetMetadata(handle, nullptr); item && *item; ++item) {
            const std::string text = *item;
            const auto equals = text.find('=');
            if (equals != std::string::npos)
                info_.properties[text.substr(0, equals)] = text.substr(equals + 1, 1000);
        }
        free_.push_back(std::move(dataset));
        handles_ = 1;
        decideAlpha(options.alpha);
        if (options.direct && isPlainColor()) direct_ = DirectTiff::open(path_, info_.levels);
    }

    const ImageInfo& info() const override { return info_; }

    RasterBlock readRegion(int level, const Rect& rect,
                           const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                          static_cast<int>(bands.size()), info_.type != SampleType::UInt8);
        const auto& size = info_.levels[static_cast<size_t>(level)];
        const Rect inside = intersect(rect, {0, 0, size.width, size.height});
        if (!inside.empty() && !(direct_ && direct_->read(level, inside, rect, bands, block))) {
            Lease lease(*this);
            readPart(lease.dataset(), level, inside, rect, bands, block);
        }
        return block;
    }

    bool readColor(int level, const Rect& rect, RgbaImage& image) const override {
        checkRequest(level, rect, {0});
        return direct_ && direct_->read(level, rect, image);
    }

    std::vector<std::string> damage() const override { return damage_.sentences(); }
    int64_t unreadableParts() const override { return damage_.count(); }

    bool mayHoldData(const Rect& rect) const override {
        Lease lease(*this);
        const auto isEmpty = [&](int band) {
            return GDALGetDataCoverageStatus(
                       GDALGetRasterBand(lease.dataset(), band), static_cast<int>(rect.x),
                       static_cast<int>(rect.y), static_cast<int>(rect.width),
                       static_cast<int>(rect.height), GDAL_DATA_COVERAGE_STATUS_DATA,
                       nullptr) == GDAL_DATA_COVERAGE_STATUS_EMPTY;
        };
        if (alphaBand_) return !isEmpty(alphaBand_);
        if (datasetMask_) return true;
        // Blocks that a file leaves out hold the nodata value; without one they are black pixels.
        // GDAL also calls empty what the file system has not stored, which reads as zeros.
        const auto stands = [&](const std::optional<double>& nodata) {
            return nodata && (*nodata == 0 || compressed_ || info_.format == "VRT");
        };
        if (!palette_.empty()) return !stands(paletteNodata_) || !isEmpty(1);
        const auto count = static_cast<int>(info_.bands.size());
        if (count > kMostBandsAsked) return true;
        for (int band = 1; band <= count; ++band)
            if (!stands(info_.bands[static_cast<size_t>(band - 1)].nodata) || !isEmpty(band))
                return true;
        return false;
    }

  private:
    /// Red, green and blue of 8 bits in a TIFF, every pixel valid: what DirectTiff gives too.
    bool isPlainColor() const {
        const auto& b = info_.bands;
        return (info_.format == "GTiff" || info_.format == "COG") && openName_.empty() &&
               info_.type == SampleType::UInt8 && b.size() == 3 && !info_.maskBand &&
               std::none_of(b.begin(), b.end(), [](const Band& x) { return x.nodata; });
    }

    /// A dataset of the pool, for one thread at a time.
    class Lease {
      public:
        explicit Lease(const GdalSource& source) : source_(source) {
            std::unique_lock lock(source.mutex_);
            source.returned_.wait(
                lock, [&] { return !source.free_.empty() || source.handles_ < kHandles; });
            if (!source.free_.empty()) {
                dataset_ = std::move(source.free_.back());
                source.free_.pop_back();
                return;
            }
            ++source.handles_;
            lock.unlock();
            try {
                dataset_ = openDataset(source.openName_.empty() ? source.path_ : source.openName_);
            } catch (...) {
                lock.lock();
                --source.handles_;
                source.returned_.notify_one();  // the place is free for one who waits
                throw;
            }
        }
        ~Lease() {
            const std::lock_guard lock(source_.mutex_);
            source_.free_.push_back(std::move(dataset_));
            source_.returned_.notify_one();
        }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        GDALDatasetH dataset() const { return dataset_.get(); }

      private:
        const GdalSource& source_;
        Dataset dataset_;
    };

    Dataset openFirstSubdataset(GDALDatasetH container) {
        info_.subdatasets = subdatasetsOf(container);
        for (const auto& name : info_.subdatasets) {
            try {
                Dataset part = openDataset(name);
                if (GDALGetRasterCount(part.get()) < 1) continue;
                openName_ = name;
                info_.warnings.push_back("holds " + std::to_string(info_.subdatasets.size()) +
                                         " sub-datasets; showing " + name);
                return part;
            } catch (const ReadError&) {  // the next may be readable
            }
        }
        throw ReadError(path_ + ": holds no raster");
    }

    void readLevels(GDALDatasetH dataset) {
        const int width = GDALGetRasterXSize(dataset), height = GDALGetRasterYSize(dataset);
        if (width < 1 || height < 1) throw ReadError(path_ + ": the image has no pixels");
        GDALRasterBandH first = GDALGetRasterBand(dataset, 1);
        addLevel(first, 1);
        for (int i = 0; i < GDALGetOverviewCount(first); ++i) {
            GDALRasterBandH overview = GDALGetOverview(first, i);
            if (!overview) continue;
            const int w = GDALGetRasterBandXSize(overview), h = GDALGetRasterBandYSize(overview);
            if (w < 1 || h < 1) continue;
            const double down = static_cast<double>(width) / w;
            // An overview of another shape, or no smaller than the last, would only mislead.
            if (down <= info_.levels.back().downsample * 1.01 ||
                std::abs(static_cast<double>(height) / h / down - 1) > 0.2)
                continue;
            try {
                addLevel(overview, down);
                overviewNumber_.push_back(i);
            } catch (const ReadError& error) {
                info_.warnings.emplace_back(error.what());
            }
        }
    }

    void addLevel(GDALRasterBandH band, double down) {
        int blockWidth = 0, blockHeight = 0;
        GDALGetBlockSize(band, &blockWidth, &blockHeight);
        const int64_t bytes = int64_t{blockWidth} * blockHeight *
                              std::max(1, GDALGetDataTypeSizeBytes(GDALGetRasterDataType(band)));
        if (blockWidth < 1 || blockHeight < 1 || bytes > kMaxBlockBytes)
            throw ReadError(path_ + ": a block of " + std::to_string(blockWidth) + " x " +
                            std::to_string(blockHeight) +
                            " px would have to be decoded at once; more than " +
                            std::to_string(kMaxBlockBytes >> 20) + " MiB is refused");
        info_.levels.push_back({GDALGetRasterBandXSize(band), GDALGetRasterBandYSize(band), down,
                                blockWidth, blockHeight});
    }

    void readBands(GDALDatasetH dataset) {
        const int count = std::min(GDALGetRasterCount(dataset), kMaxBands);
        for (int i = 1; i <= count; ++i) {
            GDALRasterBandH handle = GDALGetRasterBand(dataset, i);
            Band band;
            band.role = roleOf(handle);
            band.name = GDALGetDescription(handle);
            if (band.name.empty()) band.name = roleName(band.role);
            if (band.name.empty()) band.name = "band " + std::to_string(i);
            int known = 0;
            const double nodata = GDALGetRasterNoDataValue(handle, &known);
            if (known) band.nodata = nodata;
            const double scale = GDALGetRasterScale(handle, nullptr),
                         offset = GDALGetRasterOffset(handle, nullptr);
            if (std::isfinite(scale) && scale != 0 && std::isfinite(offset)) {
                band.scale = scale;
                band.offset = offset;
            }
            info_.bands.push_back(band);
        }
        GDALRasterBandH first = GDALGetRasterBand(dataset, 1);
        if (count == 1 && GDALGetRasterColorTable(first)) expandPalette(first);
        const int flags = GDALGetMaskFlags(first);
        datasetMask_ = (flags & GMF_PER_DATASET) && !(flags & GMF_ALPHA) && !(flags & GMF_NODATA);
        info_.maskBand = datasetMask_;
    }

    void expandPalette(GDALRasterBandH band) {
        GDALColorTableH table = GDALGetRasterColorTable(band);
        const int count = std::min(GDALGetColorEntryCount(table), 65536);
        for (int i = 0; i < count; ++i) {
            const GDALColorEntry* entry = GDALGetColorEntry(table, i);
            palette_.push_back({static_cast<uint8_t>(entry->c1), static_cast<uint8_t>(entry->c2),
                                static_cast<uint8_t>(entry->c3), static_cast<uint8_t>(entry->c4)});
        }
        paletteNodata_ = info_.bands[0].nodata;
        info_.bands = {{"red", BandRole::Red, {}},
                       {"green", BandRole::Green, {}},
                       {"blue", BandRole::Blue, {}}};
        info_.type = SampleType::UInt8;
        info_.properties["palette"] = std::to_string(count) + " colours";
    }

    /// NIR is sometimes tagged as alpha. A real alpha band is nearly all fully clear or fully
    /// opaque.
    void decideAlpha(AlphaChoice choice) {
        auto& last = info_.bands.back();
        if (last.role != BandRole::Alpha) return;
        const auto distrust = [&](const std::string& why) {
            last.role = BandRole::Other;
            last.name = "band " + std::to_string(info_.bands.size()) + " (tagged alpha)";
            info_.warnings.push_back("band " + std::to_string(info_.bands.size()) +
                                     " is tagged as alpha but " + why + ": taken for data");
        };
        if (choice == AlphaChoice::Ignore) return distrust("the user says that it is not");
        alphaBand_ = static_cast<int>(info_.bands.size());
        info_.maskBand = true;
        if (choice == AlphaChoice::Believe) return;
        const auto& level = info_.levels.back();
        const Rect rect{0, 0, std::min<int64_t>(level.width, 1024),
                        std::min<int64_t>(level.height, 1024)};
        const int believed = alphaBand_;
        alphaBand_ = 0;
        info_.maskBand = false;
        const RasterBlock sample = readRegion(levelCount() - 1, rect, {believed - 1});
        float highest = 0;
        for (size_t i = 0; i < sample.valid.size(); ++i)
            highest = std::max(highest,
                               sample.isFloat ? sample.f32[i] : static_cast<float>(sample.u8[i]));
        size_t extreme = 0;
        for (size_t i = 0; i < sample.valid.size(); ++i) {
            const float value = sample.isFloat ? sample.f32[i] : static_cast<float>(sample.u8[i]);
            extreme += value == 0 || value == highest;
        }
        const bool full = highest == 255 || highest == 65535 || highest == 1;
        if (!full || static_cast<double>(extreme) < 0.9 * static_cast<double>(sample.valid.size()))
            return distrust("holds many different values");
        alphaBand_ = believed;
        info_.maskBand = true;
    }

    GDALRasterBandH bandAt(GDALDatasetH dataset, int level, int number) const {
        GDALRasterBandH band = GDALGetRasterBand(dataset, number);
        return level == 0 ? band
                          : GDALGetOverview(band, overviewNumber_[static_cast<size_t>(level - 1)]);
    }

    struct Target {
        void* first;
        GDALDataType type;
        int64_t pixelBytes, lineBytes;
    };
    static bool readBand(GDALRasterBandH band, const Rect& part, const Target& target) {
        return band &&
               GDALRasterIOEx(band, GF_Read, static_cast<int>(part.x), static_cast<int>(part.y),
                              static_cast<int>(part.width), static_cast<int>(part.height),
                              target.first, static_cast<int>(part.width),
                              static_cast<int>(part.height), target.type, target.pixelBytes,
                              target.lineBytes, nullptr) == CE_None;
    }

    void readPart(GDALDatasetH dataset, int level, const Rect& part, const Rect& whole,
                  const std::vector<int>& bands, RasterBlock& block) const {
        GdalMessages messages;
        const auto& grid = info_.levels[static_cast<size_t>(level)];
        // A virtual raster's blocks are not those of the files behind it.
        const bool known = info_.format != "VRT" && damage_.failedLately(level, grid, part);
        if (!known && tryPart(dataset, level, part, whole, bands, block)) return;
        const bool small = insideOnePart(grid, part) && part.width <= kSmallestDamage &&
                           part.height <= kSmallestDamage;
        if (!known && !small) {
            for (const Rect& piece : cutAlongGrid(grid, part))
                readPart(dataset, level, piece, whole, bands, block);
            return;
        }
        for (int64_t y = 0; y < part.height; ++y)
            std::fill_n(
                block.valid.begin() + (part.y - whole.y + y) * whole.width + part.x - whole.x,
                part.width, uint8_t{0});
        if (!known) damage_.add(level, grid, part, messages.cause("read failed"));
    }

    bool tryPart(GDALDatasetH dataset, int level, const Rect& part, const Rect& whole,
                 const std::vector<int>& bands, RasterBlock& block) const {
        const auto origin =
            static_cast<size_t>((part.y - whole.y) * whole.width + part.x - whole.x);
        const int64_t count = block.bands;
        if (!palette_.empty()) return readPalette(dataset, level, part, whole, bands, block);
        for (size_t b = 0; b < bands.size(); ++b) {
            Target target{};
            if (block.isFloat)
                target = {block.f32.data() + origin * bands.size() + b, GDT_Float32, 4 * count,
                          4 * count * whole.width};
            else
                target = {block.u8.data() + origin * bands.size() + b, GDT_Byte, count,
                          count * whole.width};
            if (!readBand(bandAt(dataset, level, bands[b] + 1), part, target)) return false;
        }
        return markValid(dataset, level, part, whole, bands, block);
    }

    bool readPalette(GDALDatasetH dataset, int level, const Rect& part, const Rect& whole,
                     const std::vector<int>& bands, RasterBlock& block) const {
        std::vector<uint16_t> index(static_cast<size_t>(part.width * part.height));
        if (!readBand(bandAt(dataset, level, 1), part,
                      {index.data(), GDT_UInt16, 2, 2 * part.width}))
            return false;
        for (int64_t y = 0; y < part.height; ++y)
            for (int64_t x = 0; x < part.width; ++x) {
                const auto to = static_cast<size_t>((part.y - whole.y + y) * whole.width + part.x -
                                                    whole.x + x);
                const uint16_t i = index[static_cast<size_t>(y * part.width + x)];
                if (i >= palette_.size() || palette_[i][3] == 0 ||
                    (paletteNodata_ && *paletteNodata_ == i))
                    continue;
                block.valid[to] = 1;
                for (size_t b = 0; b < bands.size(); ++b)
                    block.u8[to * bands.size() + b] = palette_[i][static_cast<size_t>(bands[b])];
            }
        return true;
    }

    bool markValid(GDALDatasetH dataset, int level, const Rect& part, const Rect& whole,
                   const std::vector<int>& bands, RasterBlock& block) const {
        std::vector<uint8_t> mask;
        if (datasetMask_ || alphaBand_) {
            mask.resize(static_cast<size_t>(part.width * part.height));
            GDALRasterBandH source = alphaBand_ ? bandAt(dataset, level, alphaBand_)
                                                : GDALGetMaskBand(bandAt(dataset, level, 1));
            // 16-bit alpha is read as bytes: anything above 0 counts as there.
            if (!readBand(source, part, {mask.data(), GDT_Byte, 1, part.width})) return false;
        }
        for (int64_t y = 0; y < part.height; ++y)
            for (int64_t x = 0; x < part.width; ++x) {
                const auto at = static_cast<size_t>((part.y - whole.y + y) * whole.width + part.x -
                                                    whole.x + x);
                if (!mask.empty() && mask[static_cast<size_t>(y * part.width + x)] == 0) continue;
                block.valid[at] = anyData(block, at, bands) ? 1 : 0;
            }
        return true;
    }

    /// Not every asked band is nodata or NaN.
    bool anyData(const RasterBlock& block, size_t at, const std::vector<int>& bands) const {
        for (size_t b = 0; b < bands.size(); ++b) {
            const size_t i = at * bands.size() + b;
            const double value = block.isFloat ? block.f32[i] : block.u8[i];
            const auto& nodata = info_.bands[static_cast<size_t>(bands[b])].nodata;
            const bool missing =
                std::isnan(value) ||
                (nodata &&
                 (value == *nodata ||
                  (block.isFloat && static_cast<float>(value) == static_cast<float>(*nodata))));
            if (!missing) return true;
        }
        return false;
    }

    std::string path_;
    std::string openName_;  ///< of a sub-dataset
    ImageInfo info_;
    std::vector<int> overviewNumber_;
    std::vector<std::array<uint8_t, 4>> palette_;
    std::optional<double> paletteNodata_;
    bool datasetMask_ = false, compressed_ = false;
    int alphaBand_ = 0;  ///< 1-based; 0: none is believed
    std::unique_ptr<DirectTiff> direct_;
    mutable std::mutex mutex_;
    mutable std::condition_variable returned_;
    mutable std::vector<Dataset> free_;
    mutable size_t handles_ = 0;
    mutable DamageLog damage_;
};

}  // namespace

SourcePtr openGdal(const std::string& path, const OpenOptions& options) {
    return std::make_shared<GdalSource>(path, options);
}

bool gdalHasDriver(const char* name) {
    initialiseGdal();
    return GDALGetDriverByName(name) != nullptr;
}

std::string gdalVersion() {
    return std::string("GDAL ") + GDALVersionInfo("RELEASE_NAME");
}

}  // namespace atlas::io
