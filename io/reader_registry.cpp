// SPDX-License-Identifier: Apache-2.0
#include "io/reader_registry.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "io/ascii.h"
#include "io/gdal/gdal_reader.h"
#include "io/openslide/openslide_reader.h"
#include "io/synthetic/synthetic_source.h"

namespace atlas::io {
namespace {

bool isVirtualName(const std::string& path) {
    for (const char* prefix : {"NETCDF:", "HDF5:", "GTIFF_DIR:", "/vsi", "SENTINEL2_", "GPKG:"})
        if (path.starts_with(prefix)) return true;
    return false;
}

bool isUrl(const std::string& path) {
    return path.starts_with("http://") || path.starts_with("https://");
}

/// GDAL knows georeference, overviews and masks of plain TIFFs better; OpenSlide knows pyramids
/// that are stored as pages.
SourcePtr openGenericTiff(const std::string& path, const OpenOptions& options) {
    SourcePtr raster;
    try {
        raster = openGdal(path, options);
    } catch (const ReadError&) {
        return openOpenSlide(path, options.direct);
    }
    const auto& info = raster->info();
    if (info.georeference || info.levels.size() > 1 || info.type != SampleType::UInt8)
        return raster;
    try {
        return openOpenSlide(path, options.direct);
    } catch (const ReadError&) {
        return raster;
    }
}

}  // namespace

SourcePtr openImage(const std::string& path, const OpenOptions& options) {
    if (path.starts_with("synthetic:")) return openSynthetic(path);
    if (isVirtualName(path)) return openGdal(path, options);
    if (isUrl(path)) return openGdal("/vsicurl/" + path, options);
    std::error_code error;
    if (!std::filesystem::exists(path, error)) throw ReadError(path + ": there is no such file");
    if (std::filesystem::is_directory(path, error))
        throw ReadError(path + ": is a folder, not an image");
    const std::string vendor = openSlideVendor(path);
    if (vendor == "generic-tiff") return openGenericTiff(path, options);
    if (vendor.empty()) return openGdal(path, options);
    try {
        return openOpenSlide(path, options.direct);
    } catch (const ReadError& slide) {
        try {
            return openGdal(path, options);
        } catch (const ReadError&) {
            throw slide;
        }
    }
}

bool looksLikeImage(const std::filesystem::path& path) {
    static constexpr std::array kEndings{".svs", ".ndpi", ".tif",  ".tiff",    ".mrxs", ".scn",
                                         ".bif", ".vms",  ".vmu",  ".svslide", ".czi",  ".dcm",
                                         ".jp2", ".j2k",  ".png",  ".jpg",     ".jpeg", ".vrt",
                                         ".nc",  ".img",  ".gtif", ".webp"};
    const std::string ending = lowerAscii(path.extension().string());
    return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

std::vector<std::string> readerVersions() {
    return {openSlideVersion(), gdalVersion()};
}

RasterCodecs rasterCodecs() {
    RasterCodecs codecs;
    for (const auto& [driver, name] : {std::pair{"GTiff", "TIFF"},
                                       {"COG", "COG"},
                                       {"JPEG", "JPEG"},
                                       {"PNG", "PNG"},
                                       {"JP2OpenJPEG", "JPEG 2000"},
                                       {"WEBP", "WebP"},
                                       {"JPEGXL", "JPEG XL"},
                                       {"HDF5", "HDF5"},
                                       {"netCDF", "netCDF"},
                                       {"ECW", "ECW"},
                                       {"MrSID", "MrSID"}})
        (gdalHasDriver(driver) ? codecs.present : codecs.missing).emplace_back(name);
    return codecs;
}

bool isDefaultResolution(double umPerPixel) {
    if (!std::isfinite(umPerPixel) || umPerPixel < 0.01 || umPerPixel > 20) return true;
    // 1/72, 1/96 ... inch lie above 20 already; 2540 and 4000 dpi scanners are real.
    return false;
}

}  // namespace atlas::io
