// SPDX-License-Identifier: Apache-2.0
// What is classified of a picture: tissue of slides, whatever reader opens them, and every pixel
// with data of rasters.
#include "engine/pipeline/foreground.h"

#include <gdal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/pipeline/run_plan.h"
#include "engine/pipeline/wsinfer_tissue.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

std::string dataFile(const char* name) {
    return (test::dataRoot() / "data" / name).string();
}

std::unique_ptr<io::ColorSource> colorOf(const std::string& path) {
    const auto source = io::openImage(path);
    return std::make_unique<io::ColorSource>(source, io::defaultDisplay(source->info()),
                                             std::make_shared<io::TileCache>(size_t{64} << 20));
}

/// A model of WSInfer's zoo: 350 px at 0.25 um.
ModelConfig wsinferModel() {
    ModelConfig model;
    model.name = "exported";
    model.architecture = kTorchScript;
    model.classNames = {"a", "b"};
    model.patchSizePx = 350;
    model.spacingUmPx = 0.25;
    return model;
}

RunPlan planOf(const io::ColorSource& image, const ModelConfig& model,
               const RunRequest& request = {}) {
    return planRun(image, model, request);
}

TEST(Foreground, ASlideIsMaskedWhateverReaderOpensIt) {
    const std::string svs = dataFile("slides/CMU-1-Small-Region.svs"),
                      tiff = dataFile("slides/cmu-generic-pyramid.tif");
    ATLAS_REQUIRE_DATA(svs);
    const auto slide = colorOf(svs), raster = colorOf(tiff);
    EXPECT_NE(raster->info().reader.find("GDAL"), std::string::npos);
    const RunPlan a = planOf(*slide, wsinferModel()), b = planOf(*raster, wsinferModel());
    EXPECT_EQ(a.mask, "tissue (Otsu of the saturation)");
    EXPECT_EQ(b.mask, a.mask);
    EXPECT_EQ(a.columns * a.rows, 221);
    EXPECT_LT(a.contexts.size(), 130u);
    std::set<std::pair<int64_t, int64_t>> places;
    for (const auto& context : a.contexts) places.insert({context.column, context.row});
    size_t shared = 0;
    for (const auto& context : b.contexts) shared += places.count({context.column, context.row});
    EXPECT_LE(a.contexts.size() - shared, 3u);
    EXPECT_LE(b.contexts.size() - shared, 3u);
}

TEST(Foreground, TheGlassOfASectionIsLeftOut) {
    for (const char* name : {"B_B4_BT10737_D2_HE", "C_C2_5714_HE_BT_C2", "C_C3_5714_HE_BT_D1"}) {
        const std::string path = dataFile("slides/her2st/") + name + ".tif";
        ATLAS_REQUIRE_DATA(path);
        const auto image = colorOf(path);
        const ForegroundMap map = findForeground(*image);
        EXPECT_EQ(map.rule, "tissue (Otsu of the saturation)") << name;
        const auto& full = image->info().levels[0];
        const double share = map.share(image->info(), 0, 0, static_cast<double>(full.width),
                                       static_cast<double>(full.height));
        EXPECT_GT(share, 0.05) << name;
        EXPECT_LT(share, 0.4) << name;  // glass alone is three quarters of each picture
        EXPECT_LT(map.share(image->info(), 200, 200, 700, 700), 0.1) << name;
    }
}

TEST(Foreground, RastersArePicturesOfData) {
    const std::string map = dataFile("geo/RGB.byte.tif"), photo = dataFile("geo/world.jp2");
    ATLAS_REQUIRE_DATA(map);
    EXPECT_EQ(findForeground(*colorOf(map)).rule, "data");
    EXPECT_EQ(findForeground(*colorOf(map), 0.5).rule, "data");  // it lies on a map
    EXPECT_EQ(findForeground(*colorOf(photo)).rule, "data");
    EXPECT_EQ(findForeground(*colorOf(photo), 3e5).rule, "data");  // 0.3 m is no microscope's
}

/// An image in memory.
class Picture : public io::ImageSource {
  public:
    explicit Picture(io::RgbaImage pixels) : pixels_(std::move(pixels)) {
        info_.path = "picture";
        info_.levels = {{pixels_.width, pixels_.height, 1, 256, 256}};
        info_.bands = {
            {"r", io::BandRole::Red}, {"g", io::BandRole::Green}, {"b", io::BandRole::Blue}};
    }
    const io::ImageInfo& info() const override { return info_; }
    io::ImageInfo& change() { return info_; }
    io::RasterBlock readRegion(int level, const io::Rect& rect,
                               const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        io::RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                              static_cast<int>(bands.size()), false);
        for (int y = 0; y < block.height; ++y)
            for (int x = 0; x < block.width; ++x) {
                const uint8_t* from =
                    pixels_.pixel(static_cast<int>(rect.x) + x, static_cast<int>(rect.y) + y);
                const auto at = static_cast<size_t>(y * block.width + x);
                block.valid[at] = from[3] != 0;
                for (size_t b = 0; b < bands.size(); ++b)
                    block.u8[at * bands.size() + b] = from[bands[b]];
            }
        return block;
    }

  private:
    io::RgbaImage pixels_;
    io::ImageInfo info_;
};

/// A pink disc on a ground of one grey.
std::shared_ptr<Picture> discOn(uint8_t ground, int side = 600) {
    io::RgbaImage pixels(side, side);
    for (int y = 0; y < side; ++y)
        for (int x = 0; x < side; ++x) {
            const int dx = x - side / 2, dy = y - side / 2;
            const bool disc = dx * dx + dy * dy < side * side / 9;
            const std::array<uint8_t, 4> color =
                disc ? std::array<uint8_t, 4>{200, 110, 170, 255}
                     : std::array<uint8_t, 4>{ground, ground, ground, 255};
            std::copy(color.begin(), color.end(), pixels.pixel(x, y));
        }
    return std::make_shared<Picture>(std::move(pixels));
}

ForegroundMap mapOf(const std::shared_ptr<Picture>& picture, std::optional<double> um = {}) {
    const io::ColorSource image(picture, io::defaultDisplay(picture->info()),
                                std::make_shared<io::TileCache>(size_t{8} << 20));
    return findForeground(image, um);
}

TEST(Foreground, ThePictureDecides) {
    const auto glass = discOn(235);
    EXPECT_EQ(mapOf(glass).rule, "data");  // of an unknown resolution
    EXPECT_EQ(mapOf(glass, 0.5).rule, "tissue (Otsu of the saturation)");
    EXPECT_EQ(mapOf(glass, 3e5).rule, "data");
    glass->change().resolution = io::Resolution{0.5, 0.5, false, "TIFF resolution tags"};
    const ForegroundMap map = mapOf(glass);
    EXPECT_TRUE(map.tissue);
    EXPECT_EQ(map.share(glass->info(), 0, 0, 100, 100), 0);
    EXPECT_EQ(map.share(glass->info(), 250, 250, 100, 100), 1);
    EXPECT_EQ(mapOf(glass, 3e5).rule, "data") << "what is given goes before the tag";
    glass->change().georeference =
        io::GeoReference{{0, 1, 0, 0, 0, -1}, "EPSG:32618", "PROJCS", false};
    EXPECT_EQ(mapOf(glass).rule, "data");
    EXPECT_EQ(mapOf(discOn(120), 0.5).rule, "data");  // neither glass nor darkness
    EXPECT_EQ(mapOf(discOn(10), 0.5).rule, "tissue (Otsu of the brightness)");
}

TEST(Foreground, WsinfersRuleTakesWsinfersPatches) {
    // Counts of WSInfer 0.6.1 itself (OpenSlide 4.0.1, OpenCV 4.10, scikit-image 0.26).
    struct Case {
        const char* file;
        double overlap;
        size_t patches, tolerance;
    };
    for (const Case& c : {Case{"slides/CMU-1-Small-Region.svs", 0, 87, 0},
                          {"slides/cmu-generic-pyramid.tif", 0, 86, 0},
                          {"slides/cmu-generic-pyramid.tif", 0.5, 338, 0},
                          {"slides/her2st/C_C2_5714_HE_BT_C2.tif", 0, 1739, 9}}) {
        ATLAS_REQUIRE_DATA(dataFile(c.file));
        RunRequest request;
        request.tissueRule = TissueRule::Wsinfer;
        request.overlap = c.overlap;
        const RunPlan plan = planOf(*colorOf(dataFile(c.file)), wsinferModel(), request);
        EXPECT_NEAR(static_cast<double>(plan.contexts.size()), static_cast<double>(c.patches),
                    static_cast<double>(c.tolerance))
            << c.file << " " << c.overlap;
        EXPECT_EQ(plan.mask, "tissue (WSInfer: the centre lies in its polygon)");
    }
    const std::string map = dataFile("geo/RGB.byte.tif");
    RunRequest request;
    request.tissueRule = TissueRule::Wsinfer;
    ModelConfig model = wsinferModel();
    model.spacingUmPx = 3e8;
    EXPECT_THROW(planOf(*colorOf(map), model, request), std::runtime_error);
}

TEST(Foreground, PatchesOfExportedModelsUseBothResolutions) {
    const auto picture = discOn(235);
    picture->change().resolution = io::Resolution{0.5, 1.0, false, "TIFF resolution tags"};
    const io::ColorSource image(picture, io::defaultDisplay(picture->info()),
                                std::make_shared<io::TileCache>(size_t{8} << 20));
    const RunPlan plan = planOf(image, wsinferModel());
    EXPECT_EQ(plan.contextWidth, 117);  // 87.5 um / 0.75 um = 116.67
    EXPECT_EQ(plan.contextHeight, 117);
    ModelConfig own = wsinferModel();
    own.architecture = "atlas";
    const RunPlan both = planOf(image, own);
    EXPECT_DOUBLE_EQ(both.contextWidth, 175);
    EXPECT_DOUBLE_EQ(both.contextHeight, 87.5);
}

/// 1280 x 1280 px of nodata 0 but for one pixel; sparse: blocks without data are left out.
void writeNearlyEmpty(const std::string& path, bool sparse, int x, int y) {
    GDALAllRegister();
    char tiled[] = "TILED=YES", holes[] = "SPARSE_OK=TRUE", dense[] = "SPARSE_OK=FALSE";
    char* options[] = {tiled, sparse ? holes : dense, nullptr};
    GDALDatasetH file =
        GDALCreate(GDALGetDriverByName("GTiff"), path.c_str(), 1280, 1280, 1, GDT_Byte, options);
    GDALRasterBandH band = GDALGetRasterBand(file, 1);
    GDALSetRasterNoDataValue(band, 0);
    std::array<double, 6> place{500000, 1, 0, 4000000, 0, -1};
    GDALSetGeoTransform(file, place.data());
    if (!sparse) {
        GDALFillRaster(band, 1, 0);
        GDALFlushCache(file);
        GDALFillRaster(band, 0, 0);
    }
    uint8_t value = 200;
    EXPECT_EQ(GDALRasterIO(band, GF_Write, x, y, 1, 1, &value, 1, 1, GDT_Byte, 0, 0), CE_None);
    GDALClose(file);
}

TEST(Foreground, OfRastersEveryValidPixelIsAnswered) {
    const test::TemporaryFolder folder;
    ModelConfig model;
    model.patchSizePx = 128;
    model.spacingUmPx = 1e6;
    RunRequest request;
    request.resolutionUm = 1e6;
    for (bool sparse : {false, true}) {
        const std::string path = (folder.path() / "one.tif").string();
        writeNearlyEmpty(path, sparse, 1000, 333);
        const auto image = colorOf(path);
        const RunPlan plan = planOf(*image, model, request);
        const auto holds = [](const Context& c) {
            return c.x <= 1000 && 1000 < c.x + 128 && c.y <= 333 && 333 < c.y + 128;
        };
        EXPECT_EQ(std::count_if(plan.contexts.begin(), plan.contexts.end(), holds), 1);
        EXPECT_EQ(plan.mask, "data");
        // Of a sparse file only the block of 256 px around it may hold data.
        EXPECT_EQ(plan.contexts.size(), sparse ? 4u : 100u);
    }
}

}  // namespace
}  // namespace atlas::engine
