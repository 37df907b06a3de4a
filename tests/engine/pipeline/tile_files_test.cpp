// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/tile_files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// Of one context at (x, y).
RunRecord recordOf(double x, double y, double side) {
    RunRecord record;
    record.runId = "run";
    record.model.name = "model";
    record.model.classNames = {"land", "water"};
    record.model.classColors = {{1, 2, 3}, {4, 5, 6}};
    record.plan.contextWidth = record.plan.contextHeight = side;
    record.plan.whole = true;  // the context answers for all that it sees
    record.plan.region = {0, 0, 1 << 20, 1 << 20};
    record.rows = {{{0, 0, x, y}, {0.25f, 0.75f}, {}}};
    return record;
}

json mapTilesOf(const io::ImageInfo& info, const RunRecord& record) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "tiles.geojson";
    if (!writeMapTiles(path, record, info)) {
        EXPECT_FALSE(std::filesystem::exists(path));
        return nullptr;
    }
    return json::parse(test::textOf(path))["features"][0];
}

#define OPEN_INFO(name, file)                                                               \
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data" / (file));                                 \
    const auto name##Source = io::openImage((test::dataRoot() / "data" / (file)).string()); \
    const auto& name = name##Source->info()

TEST(TileFiles, MapTilesAreInDegrees) {
    OPEN_INFO(landsat, "geo/RGB.byte.tif");
    const json feature = mapTilesOf(landsat, recordOf(0, 0, 1000));  // the whole of it
    EXPECT_EQ(feature["geometry"]["type"], "Polygon");
    const json ring = feature["geometry"]["coordinates"][0];
    ASSERT_EQ(ring.size(), 5u);
    EXPECT_EQ(ring[0], ring[4]);
    // As gdalinfo prints the corners: 78d57'31.14"W 25d30'21.91"N, and 76d34'29.73"W 23d36'21.41"N.
    const double west = -78.958650, north = 25.506086, east = -76.574925, south = 23.605947;
    EXPECT_NEAR(ring[0][0].get<double>(), west, 2e-6);
    EXPECT_NEAR(ring[0][1].get<double>(), north, 2e-6);
    EXPECT_NEAR(ring[2][0].get<double>(), east, 2e-6);
    EXPECT_NEAR(ring[2][1].get<double>(), south, 2e-6);
    double area = 0;  // above 0: counterclockwise
    for (size_t i = 0; i < 4; ++i)
        area += ring[i][0].get<double>() * ring[i + 1][1].get<double>() -
                ring[i + 1][0].get<double>() * ring[i][1].get<double>();
    EXPECT_GT(area, 0);
    EXPECT_EQ(feature["properties"]["class"], "water");
    EXPECT_FLOAT_EQ(feature["properties"]["prob_land"].get<float>(), 0.25f);
}

TEST(TileFiles, TheAntimeridianCutsATile) {
    OPEN_INFO(dateline, "geo/cog_dateline.tif");
    const auto& size = dateline.levels[0];
    const json geometry =
        mapTilesOf(dateline, recordOf(0, 0, static_cast<double>(size.width)))["geometry"];
    ASSERT_EQ(geometry["type"], "MultiPolygon");
    ASSERT_EQ(geometry["coordinates"].size(), 2u);
    for (size_t part = 0; part < 2; ++part)
        for (const auto& point : geometry["coordinates"][part][0]) {
            const double longitude = point[0];
            EXPECT_GT(std::abs(longitude), 170);
            EXPECT_LE(std::abs(longitude), 180);
            EXPECT_EQ(longitude > 0, part == 0);
        }
}

TEST(TileFiles, OnlyPlacesOnEarthAreOnTheMap) {
    OPEN_INFO(slide, "slides/CMU-1-Small-Region.svs");
    EXPECT_TRUE(mapTilesOf(slide, recordOf(0, 0, 100)).is_null());
    OPEN_INFO(mars, "geo/cog_hirise_mars.tif");
    EXPECT_TRUE(mapTilesOf(mars, recordOf(0, 0, 100)).is_null());
    OPEN_INFO(rotated, "geo/rotated.tif");  // a transform without a coordinate system
    EXPECT_TRUE(mapTilesOf(rotated, recordOf(0, 0, 5)).is_null());
}

TEST(TileFiles, QuPathsTilesAreInPixels) {
    OPEN_INFO(landsat, "geo/RGB.byte.tif");
    const test::TemporaryFolder folder;
    writeQuPathTiles(folder.path() / "tiles.geojson", recordOf(700, 600, 200), landsat);
    const json feature = json::parse(test::textOf(folder.path() / "tiles.geojson"))["features"][0];
    EXPECT_EQ(feature["geometry"]["coordinates"][0][2], (json{791, 718}));  // cut to the image
    EXPECT_EQ(feature["properties"]["objectType"], "tile");
}

TEST(TileFiles, PatchesOfExportedModelsAreWhole) {
    OPEN_INFO(landsat, "geo/RGB.byte.tif");
    const test::TemporaryFolder folder;
    RunRecord record = recordOf(700, 600, 200);
    record.model.architecture = kTorchScript;
    writeCsv(folder.path() / "tiles.csv", record, landsat);
    EXPECT_NE(test::textOf(folder.path() / "tiles.csv").find("\n700,600,200,200,0.25,0.75\n"),
              std::string::npos);
    record.model.architecture = "atlas";
    writeCsv(folder.path() / "tiles.csv", record, landsat);
    EXPECT_NE(test::textOf(folder.path() / "tiles.csv").find("\n700,600,91,118,0.25,0.75\n"),
              std::string::npos);
}

}  // namespace
}  // namespace atlas::engine
