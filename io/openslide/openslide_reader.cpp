// SPDX-License-Identifier: Apache-2.0
#include "io/openslide/openslide_reader.h"

#include <openslide.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <set>

#include "io/damage_log.h"
#include "io/numbers.h"
#include "io/reader_registry.h"
#include "io/tiff/direct_tiff.h"

#if defined(__GNUC__)
// OpenSlide 4 has these, 3.4 does not; the headers may be of either.
extern "C" {
__attribute__((weak)) int64_t openslide_get_icc_profile_size(openslide_t* slide);
__attribute__((weak)) void openslide_read_icc_profile(openslide_t* slide, void* out);
}
#endif

namespace atlas::io {
namespace {

constexpr int64_t kMaxProfileBytes = 16 << 20;

constexpr int64_t kMaxSide = int64_t{1} << 31;
constexpr int64_t kSmallestDamage = 64;  // px; a damaged part is not narrowed down further

std::string property(openslide_t* slide, const char* name) {
    const char* value = openslide_get_property_value(slide, name);
    return value ? value : "";
}

/// Of a property; 0 where it is missing, no number, or beyond every size and resolution.
double number(const std::string& text) {
    constexpr double kMost = 1e15;
    const double value = parseNumber(text).value_or(0);
    return std::abs(value) < kMost ? value : 0;
}

class OpenSlideSource : public ImageSource {
  public:
    OpenSlideSource(const std::string& path, bool direct) {
        info_.path = path;
        handle_ = reopen();
        openslide_t* slide = handle_->slide;
        info_.format = openslide_detect_vendor(path.c_str());
        info_.reader = openSlideVersion() + " " + info_.format;
        info_.slide = true;
        plainGrid_ = info_.format == "aperio" || info_.format == "generic-tiff";
        readLevels(slide);
        readMetadata(slide);
        for (const char* name : {"red", "green", "blue"})
            info_.bands.push_back({name, BandRole::Other, {}});
        info_.bands[0].role = BandRole::Red;
        info_.bands[1].role = BandRole::Green;
        info_.bands[2].role = BandRole::Blue;
        if (direct) direct_ = DirectTiff::open(path, info_.levels);
    }

    const ImageInfo& info() const override { return info_; }

    RasterBlock readRegion(int level, const Rect& rect,
                           const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                          static_cast<int>(bands.size()), false);
        const auto& size = info_.levels[static_cast<size_t>(level)];
        const Rect inside = intersect(rect, {0, 0, size.width, size.height});
        if (!inside.empty() && !(direct_ && direct_->read(level, inside, rect, bands, block)))
            readPart(level, inside, rect, bands, block);
        return block;
    }

    bool readColor(int level, const Rect& rect, RgbaImage& image) const override {
        checkRequest(level, rect, {0});
        return direct_ && direct_->read(level, rect, image);
    }

    RgbaImage associatedImage(const std::string& name) const override {
        const auto handle = current();
        int64_t w = -1, h = -1;
        openslide_get_associated_image_dimensions(handle->slide, name.c_str(), &w, &h);
        if (w <= 0 || h <= 0 || w > 20000 || h > 20000) return ImageSource::associatedImage(name);
        std::vector<uint32_t> argb(static_cast<size_t>(w * h));
        openslide_read_associated_image(handle->slide, name.c_str(), argb.data());
        if (const char* cause = openslide_get_error(handle->slide)) {
            const std::string text = info_.path + ": associated image " + name + ": " + cause;
            replace(handle);
            throw ReadError(text);
        }
        RgbaImage image(static_cast<int>(w), static_cast<int>(h));
        for (size_t i = 0; i < argb.size(); ++i) {
            const uint32_t p = argb[i];
            const uint8_t rgba[4] = {static_cast<uint8_t>(p >> 16), static_cast<uint8_t>(p >> 8),
                                     static_cast<uint8_t>(p), static_cast<uint8_t>(p >> 24)};
            std::copy_n(rgba, 4, image.rgba.data() + 4 * i);
        }
        return image;
    }

    std::vector<std::string> damage() const override { return damage_.sentences(); }
    int64_t unreadableParts() const override { return damage_.count(); }

  private:
    struct Handle {
        openslide_t* slide = nullptr;
        explicit Handle(openslide_t* s) : slide(s) {}
        ~Handle() {
            if (slide) openslide_close(slide);
        }
        Handle(const Handle&) = delete;
        Handle& operator=(const Handle&) = delete;
    };
    using HandlePtr = std::shared_ptr<Handle>;

    HandlePtr reopen() const {
        openslide_t* slide = openslide_open(info_.path.c_str());
        if (!slide) throw ReadError(info_.path + ": OpenSlide does not know this file");
        auto handle = std::make_shared<Handle>(slide);
        if (const char* cause = openslide_get_error(slide))
            throw ReadError(info_.path + ": " + cause);
        return handle;
    }
    HandlePtr current() const {
        const std::lock_guard lock(mutex_);
        return handle_;
    }
    /// A handle is dead after its first error; the next reader gets a fresh one.
    void replace(const HandlePtr& dead) const {
        const std::lock_guard lock(mutex_);
        if (handle_ == dead) handle_ = reopen();
    }

    void readLevels(openslide_t* slide) {
        const int count = openslide_get_level_count(slide);
        for (int i = 0; i < count; ++i) {
            Level level;
            openslide_get_level_dimensions(slide, i, &level.width, &level.height);
            level.downsample = openslide_get_level_downsample(slide, i);
            if (level.width < 1 || level.height < 1 || level.width > kMaxSide ||
                level.height > kMaxSide)
                throw ReadError(info_.path + ": level " + std::to_string(i) +
                                " has an impossible size");
            const std::string prefix = "openslide.level[" + std::to_string(i) + "].tile-";
            const double tw = number(property(slide, (prefix + "width").c_str()));
            const double th = number(property(slide, (prefix + "height").c_str()));
            if (tw >= 16 && tw <= 8192) level.tileWidth = static_cast<int>(tw);
            if (th >= 16 && th <= 8192) level.tileHeight = static_cast<int>(th);
            if (i > 0 && level.downsample <= info_.levels.back().downsample) continue;
            info_.levels.push_back(level);
            levelNumber_.push_back(i);
        }
        if (info_.levels.empty()) throw ReadError(info_.path + ": the slide has no levels");
    }

    void readMetadata(openslide_t* slide) {
        if (openslide_get_icc_profile_size) {
            const int64_t bytes = openslide_get_icc_profile_size(slide);
            if (bytes > 0 && bytes <= kMaxProfileBytes) {
                info_.iccProfile.resize(static_cast<size_t>(bytes));
                openslide_read_icc_profile(slide, info_.iccProfile.data());
            }
        }
        for (const char* const* name = openslide_get_property_names(slide); name && *name; ++name)
            info_.properties[*name] = property(slide, *name);
        for (const char* const* name = openslide_get_associated_image_names(slide); name && *name;
             ++name)
            info_.associatedImages.emplace_back(*name);
        const double mppX = number(property(slide, OPENSLIDE_PROPERTY_NAME_MPP_X));
        const double mppY = number(property(slide, OPENSLIDE_PROPERTY_NAME_MPP_Y));
        if (mppX > 0 && mppY > 0) {
            if (isDefaultResolution(mppX) || isDefaultResolution(mppY))
                info_.warnings.push_back(
                    "the resolution tag says " + formatSignificant(mppX, 7) +
                    " um a pixel, which looks like a writer's default: not believed");
            else
                info_.resolution = Resolution{mppX, mppY, false, "openslide.mpp"};
        }
        const auto bound = [&](const char* name) {
            return static_cast<int64_t>(number(property(slide, name)));
        };
        info_.bounds = {bound("openslide.bounds-x"), bound("openslide.bounds-y"),
                        bound("openslide.bounds-width"), bound("openslide.bounds-height")};
    }

    void readPart(int level, const Rect& part, const Rect& whole, const std::vector<int>& bands,
                  RasterBlock& block) const {
        const auto& grid = info_.levels[static_cast<size_t>(level)];
        if (plainGrid_ && damage_.failedLately(level, grid, part)) return;  // stays invalid
        std::vector<uint32_t> argb(static_cast<size_t>(part.width * part.height));
        const auto handle = current();
        const double down = grid.downsample;
        openslide_read_region(
            handle->slide, argb.data(),
            static_cast<int64_t>(std::llround(static_cast<double>(part.x) * down)),
            static_cast<int64_t>(std::llround(static_cast<double>(part.y) * down)),
            levelNumber_[static_cast<size_t>(level)], part.width, part.height);
        const char* error = openslide_get_error(handle->slide);
        if (!error) {
            copy(argb, part, whole, bands, block);
            return;
        }
        const std::string cause = error;
        replace(handle);
        if (insideOnePart(grid, part) && part.width <= kSmallestDamage &&
            part.height <= kSmallestDamage) {
            damage_.add(level, grid, part, cause);  // stays invalid
            return;
        }
        for (const Rect& piece : cutAlongGrid(grid, part))
            readPart(level, piece, whole, bands, block);
    }

    static void copy(const std::vector<uint32_t>& argb, const Rect& part, const Rect& whole,
                     const std::vector<int>& bands, RasterBlock& block) {
        for (int64_t y = 0; y < part.height; ++y)
            for (int64_t x = 0; x < part.width; ++x) {
                const uint32_t p = argb[static_cast<size_t>(y * part.width + x)];
                const uint32_t alpha = p >> 24;
                if (alpha == 0) continue;
                const auto at = static_cast<size_t>((part.y - whole.y + y) * whole.width + part.x -
                                                    whole.x + x);
                block.valid[at] = 1;
                for (size_t b = 0; b < bands.size(); ++b) {
                    const uint32_t value = p >> (16 - 8 * bands[b]) & 255;
                    block.u8[at * bands.size() + b] = static_cast<uint8_t>(
                        alpha == 255 ? value : std::min<uint32_t>(255, value * 255 / alpha));
                }
            }
    }

    ImageInfo info_;
    std::vector<int> levelNumber_;
    bool plainGrid_ = false;  ///< the tiles lie edge to edge, as the levels say
    std::unique_ptr<DirectTiff> direct_;
    mutable std::mutex mutex_;
    mutable HandlePtr handle_;
    mutable DamageLog damage_;
};

}  // namespace

std::string openSlideVendor(const std::string& path) {
    const char* vendor = openslide_detect_vendor(path.c_str());
    return vendor ? vendor : "";
}

SourcePtr openOpenSlide(const std::string& path, bool direct) {
    return std::make_shared<OpenSlideSource>(path, direct);
}

std::string openSlideVersion() {
    return std::string("OpenSlide ") + openslide_get_version();
}

}  // namespace atlas::io
