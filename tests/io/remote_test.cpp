// SPDX-License-Identifier: Apache-2.0
// Rasters by URL, from a server on this machine: only what is seen is fetched.
#include <cpl_conv.h>
#include <gdal.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "io/color_source.h"
#include "io/reader_registry.h"
#include "tests/support/http_server.h"
#include "tests/support/temporary_folder.h"

namespace atlas::io {
namespace {

constexpr int kSide = 4096;

/// A cloud-optimised GeoTIFF of noise (which does not compress), and its first pixels.
std::string writeCog(const std::filesystem::path& path, std::vector<uint8_t>& pixels) {
    GDALAllRegister();
    pixels.resize(static_cast<size_t>(kSide) * kSide);
    std::minstd_rand random(7);
    for (auto& p : pixels) p = static_cast<uint8_t>(random() >> 8);
    GDALDatasetH memory =
        GDALCreate(GDALGetDriverByName("MEM"), "", kSide, kSide, 1, GDT_Byte, nullptr);
    EXPECT_EQ(GDALRasterIO(GDALGetRasterBand(memory, 1), GF_Write, 0, 0, kSide, kSide,
                           pixels.data(), kSide, kSide, GDT_Byte, 0, 0),
              CE_None);
    char options[] = "BLOCKSIZE=256";
    char* list[] = {options, nullptr};
    GDALDatasetH cog = GDALCreateCopy(GDALGetDriverByName("COG"), path.string().c_str(), memory, 0,
                                      list, nullptr, nullptr);
    GDALClose(cog);
    GDALClose(memory);
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

TEST(Remote, OfACogOnlyWhatIsSeenIsFetched) {
    const test::TemporaryFolder folder;
    std::vector<uint8_t> pixels;
    const std::string body = writeCog(folder.path() / "noise.tif", pixels);
    ASSERT_GT(body.size(), size_t{12} << 20);
    test::HttpServer server(body);
    const std::string url = server.url("noise.tif");
    const auto source = openImage(url);
    EXPECT_EQ(source->info().levels[0].width, kSide);
    EXPECT_GT(source->info().levels.size(), 2u);
    EXPECT_NE(source->info().path.find(url), std::string::npos);
    EXPECT_LT(server.sent(), body.size() / 20) << "opening";
    const auto block = source->readRegion(0, {1000, 2000, 300, 200}, {0});
    for (int y = 0; y < 200; ++y)
        for (int x = 0; x < 300; ++x)
            ASSERT_EQ(block.u8[static_cast<size_t>(y) * 300 + x],
                      pixels[static_cast<size_t>(2000 + y) * kSide + 1000 + x]);
    EXPECT_LT(server.sent(), body.size() / 10) << "a small region";
    // The whole image, coarse: from its overviews.
    const ColorSource color(source, defaultDisplay(source->info()),
                            std::make_shared<TileCache>(size_t{64} << 20));
    color.resample(0, 0, kSide, kSide, 256, 256);
    EXPECT_LT(server.sent(), body.size() / 5) << "the whole image, small";
}

TEST(Remote, ErrorsSayWhere) {
    test::HttpServer server("this is no raster");
    for (const char* name : {"none.png", "text.tif"}) try {
            openImage(server.url(name));
            ADD_FAILURE() << name << " was opened";
        } catch (const ReadError& error) {
            EXPECT_NE(std::string(error.what()).find(server.url(name)), std::string::npos)
                << error.what();
        }
    EXPECT_THROW(openImage("http://127.0.0.1:1/a.tif"), ReadError);  // nobody listens
}

TEST(Remote, AServerThatBreaksDownMarksWhatIsMissing) {
    const test::TemporaryFolder folder;
    std::vector<uint8_t> pixels;
    test::HttpServer server(writeCog(folder.path() / "noise.tif", pixels));
    const auto source = openImage(server.url("noise.tif"));
    server.breakDown();
    const auto block = source->readRegion(0, {3000, 3000, 64, 64}, {0});
    EXPECT_EQ(block.valid[0], 0);
    EXPECT_FALSE(source->damage().empty());
}

}  // namespace
}  // namespace atlas::io
