// SPDX-License-Identifier: Apache-2.0
// The pipeline: bundled models against known truth, and a run that is cancelled, resumed, or fails.
#include "engine/pipeline/classify_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/nn/model_config.h"
#include "engine/pipeline/foreground.h"
#include "io/synthetic/scene.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

using test::kModels, test::runOf, test::sceneRequest, test::textOf;

TEST(ClassifyRun, WritesEveryFileAndFindsTheTruth) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path(), "synthetic:size=8192,seed=21");
    request.attention = false;
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(outcome.contexts, 64);
    const LoadedRun run = loadRun(outcome.folder);
    const io::SyntheticScene scene(21);
    int clear = 0, right = 0;
    for (int row = 0; row < 8; ++row)
        for (int column = 0; column < 8; ++column) {
            const auto shares = scene.shares(column * 1024, row * 1024, 1024);
            const auto truth = std::max_element(shares.begin(), shares.end());
            if (*truth < 0.6) continue;
            ++clear;
            const auto predicted =
                run.classNames[static_cast<size_t>(run.layers.classes.at(0, column, row))];
            right +=
                predicted ==
                io::SyntheticScene::classes()[static_cast<size_t>(truth - shares.begin())].name;
        }
    // The table of contexts read back: the same classes, and neighbours compared.
    ASSERT_EQ(run.tiles.size(), 64u);
    for (const auto& tile : run.tiles) {
        const int column = static_cast<int>(tile.x / 1024), row = static_cast<int>(tile.y / 1024);
        EXPECT_EQ(tile.best(), static_cast<int>(run.layers.classes.at(0, column, row)));
        int neighbours = 0, other = 0;
        for (int y = std::max(0, row - 1); y <= std::min(7, row + 1); ++y)
            for (int x = std::max(0, column - 1); x <= std::min(7, column + 1); ++x) {
                if (x == column && y == row) continue;
                ++neighbours;
                other += static_cast<int>(run.layers.classes.at(0, x, y)) != tile.best();
            }
        EXPECT_NEAR(tile.disagreement, static_cast<double>(other) / neighbours, 1e-9);
    }
    EXPECT_GT(clear, 30);
    // The model's own record says at least 90 % over many scenes; one scene of some 50 contexts may
    // lie a little below.
    EXPECT_GE(right, clear * 85 / 100) << right << " of " << clear;
}

TEST(ClassifyRun, AttentionMapsHaveTheirTokensAndSumToOne) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path());
    request.region = io::Rect{1024, 0, 2048, 1024};
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    const LoadedRun run = loadRun(outcome.folder);
    ASSERT_EQ(run.layers.attention.size(), 3u);
    EXPECT_EQ(run.layers.attention[0].width, 128);
    EXPECT_EQ(run.layers.attention[2].width, 8);
    EXPECT_DOUBLE_EQ(run.layers.attention[2].cellWidth, 256);
    EXPECT_DOUBLE_EQ(run.layers.attention[0].x, 1024);
    const auto& mass = run.layers.mass;
    for (int i = 0; i < mass.width; i += 17)
        EXPECT_NEAR(mass.at(0, i, 3) + mass.at(1, i, 3) + mass.at(2, i, 3), 1, 1e-4);
    for (const char* name : {"classes.tif", "prob.tif", "attention_s0.tif", "mass.tif", "tiles.csv",
                             "tiles_qupath.geojson", "overlay.png", "summary.json", "run.json"})
        EXPECT_TRUE(fs::exists(outcome.folder / name)) << name;
    for (const auto& entry : fs::directory_iterator(outcome.folder))
        EXPECT_FALSE(entry.path().filename().string().starts_with("journal")) << entry.path();
    EXPECT_NE(textOf(outcome.folder / "classes.tif.aux.xml").find("pivots in rows"),
              std::string::npos);
    for (const auto& entry : fs::directory_iterator(outcome.folder))
        EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos) << entry.path();
    const auto geojson = nlohmann::json::parse(textOf(outcome.folder / "tiles_qupath.geojson"));
    ASSERT_EQ(geojson["features"].size(), 2u);
    const auto& properties = geojson["features"][0]["properties"];
    EXPECT_EQ(properties["objectType"], "tile");
    EXPECT_TRUE(properties["classification"].contains("color"));
    EXPECT_EQ(geojson["features"][0]["geometry"]["coordinates"][0][0], (nlohmann::json{1024, 0}));
    EXPECT_EQ(textOf(outcome.folder / "tiles.csv").rfind("minx,miny,width,height,prob_water", 0),
              0u);
}

TEST(ClassifyRun, ACancelledRunIsKeptAndGoesOn) {
    const test::TemporaryFolder folder, whole;
    std::stop_source stop;
    const RunOutcome first =
        runOf(sceneRequest(folder.path()), stop.get_token(), [&](const RunProgress& p) {
            if (p.done >= 3) stop.request_stop();
        });
    EXPECT_EQ(first.state, RunState::Cancelled);
    EXPECT_GE(first.contexts, 3);
    EXPECT_LT(first.contexts, 16);
    EXPECT_EQ(first.folder.extension(), ".partial");
    EXPECT_EQ(loadRun(first.folder).state, "cancelled");
    {  // a torn record, as a kill leaves it
        for (const auto& entry : fs::directory_iterator(first.folder))
            if (entry.path().filename().string().starts_with("journal-"))
                std::ofstream(entry.path(), std::ios::binary | std::ios::app) << "torn";
    }
    int64_t start = -1;
    const RunOutcome second = runOf(sceneRequest(folder.path()), {}, [&](const RunProgress& p) {
        if (p.done > 0 && start < 0) start = p.done;
    });
    ASSERT_EQ(second.state, RunState::Done) << second.error;
    EXPECT_GT(start, first.contexts);
    EXPECT_FALSE(fs::exists(first.folder));
    const RunOutcome undisturbed = runOf(sceneRequest(whole.path()));
    for (const char* name :
         {"classes.tif", "prob.tif", "attention_s1.tif", "tiles.csv", "tiles_qupath.geojson"})
        EXPECT_EQ(textOf(second.folder / name), textOf(undisturbed.folder / name)) << name;
    EXPECT_TRUE(runOf(sceneRequest(folder.path())).alreadyThere);
}

TEST(ClassifyRun, WhatTheUserLooksAtComesFirst) {
    const test::TemporaryFolder folder;
    std::stop_source stop;
    RunRequest request = sceneRequest(folder.path());
    request.batch = 1;
    ClassifyRun run(request, std::make_shared<io::TileCache>(size_t{64} << 20));
    run.setFocus(3500, 3500);
    const RunOutcome outcome = run.run(stop.get_token(), [&](const RunProgress& p) {
        if (p.done >= 1) stop.request_stop();
    });
    ASSERT_EQ(outcome.state, RunState::Cancelled);
    const auto& classes = loadRun(outcome.folder).layers.classes;
    // Two readers work at once: the first results are among the nearest, in any order.
    int near = 0;
    for (int row = 0; row < 4; ++row)
        for (int column = 0; column < 4; ++column) {
            if (std::isnan(classes.at(0, column, row))) continue;
            EXPECT_GE(row + column, 3) << column << ", " << row;
            near += row >= 2 && column >= 2;
        }
    EXPECT_GE(near, 1);
}

TEST(ClassifyRun, OverlapBlendsOntoAFinerGrid) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path());
    request.overlap = 0.5;
    request.region = io::Rect{0, 0, 2048, 1024};
    request.attention = false;
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(outcome.contexts, 3);
    const LoadedRun run = loadRun(outcome.folder);
    EXPECT_EQ(run.layers.probabilities.width, 16);
    for (int column = 0; column < 16; ++column) {
        float sum = 0;
        for (int b = 0; b < run.layers.probabilities.bands; ++b)
            sum += run.layers.probabilities.at(b, column, 4);
        EXPECT_NEAR(sum, 1, 1e-4);
    }
}

TEST(ClassifyRun, SaysWhatIsMissing) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path(), "/nonexistent.tif");
    EXPECT_EQ(runOf(request).error, "/nonexistent.tif: there is no such file");
    request = sceneRequest(folder.path());
    request.modelDir = "/nonexistent";
    EXPECT_NE(runOf(request).error.find("/nonexistent/config.json"), std::string::npos);
    request = sceneRequest(folder.path());
    request.resolutionUm = 1e9;
    EXPECT_NE(runOf(request).error.find("too coarse"), std::string::npos);
    request = sceneRequest(folder.path());
    request.device = "cuda:77";
    EXPECT_NE(runOf(request).error.find("cuda:77"), std::string::npos);
    std::ofstream(folder.path() / "file") << "x";
    request = sceneRequest(folder.path() / "file");
    EXPECT_NE(runOf(request).error.find("file"), std::string::npos);
    const auto mosaic = test::dataRoot() / "data/train/ucm_val_mosaic.tif";
    ATLAS_REQUIRE_DATA(mosaic);
    request = sceneRequest(folder.path(), mosaic.c_str());
    EXPECT_NE(runOf(request).error.find("does not say its resolution"), std::string::npos);
}

TEST(ClassifyRun, LandUseFindsTheBlocksOfTheMosaic) {
    const auto mosaic = test::dataRoot() / "data/train/ucm_val_mosaic.tif";
    ATLAS_REQUIRE_DATA(mosaic);
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path(), mosaic.c_str());
    request.modelDir = kModels / "landuse";
    request.resolutionUm = 0.3e6;
    request.attention = false;
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(outcome.contexts, 210);
    const LoadedRun run = loadRun(outcome.folder);
    const auto blocks =
        nlohmann::json::parse(textOf(test::dataRoot() / "data/train/ucm_val_mosaic.geojson"));
    int right = 0;
    for (const auto& block : blocks["features"]) {
        const auto& corner = block["geometry"]["coordinates"][0][0];
        for (int i = 0; i < 10; ++i) {
            const float label = run.layers.classes.at(0, corner[0].get<int>() / 256 + i % 5,
                                                      corner[1].get<int>() / 256 + i / 5);
            right += run.classNames[static_cast<size_t>(label)] ==
                     block["properties"]["classification"]["name"];
        }
    }
    // The model's record gives its accuracy on the same 210 tiles; the mosaic was compressed again.
    const auto record = nlohmann::json::parse(loadModelConfig(kModels / "landuse").trainingRecord);
    const double recorded =
        record.at("evaluations").at("ucmerced_val").at("accuracy").get<double>();
    EXPECT_NEAR(right / 210.0, recorded, 0.04);
}

RunRequest corruptRequest(const fs::path& out) {
    RunRequest request =
        sceneRequest(out, (test::dataRoot() / "data/corrupt/corrupt_cog.tif").string());
    request.modelDir = kModels / "landuse";
    request.resolutionUm = 0.3e6;
    request.attention = false;
    request.batch = 1;
    return request;
}

TEST(ClassifyRun, SaysHowManyPartsOfTheFileAreUnreadable) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/corrupt/corrupt_cog.tif");
    const test::TemporaryFolder folder;
    const RunOutcome outcome = runOf(corruptRequest(folder.path()));
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_GT(outcome.unreadableParts, 0);
    EXPECT_EQ(outcome.stateText().rfind("done, " + std::to_string(outcome.unreadableParts), 0), 0u)
        << outcome.stateText();
    const auto record = nlohmann::json::parse(textOf(outcome.folder / "run.json"));
    EXPECT_EQ(record["unreadable_parts"], outcome.unreadableParts);
    const RunOutcome again = runOf(corruptRequest(folder.path()));
    EXPECT_TRUE(again.alreadyThere);
    EXPECT_EQ(again.unreadableParts, outcome.unreadableParts);
}

TEST(ClassifyRun, UnreadablePartsAreNotForgottenWhenARunIsResumed) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/corrupt/corrupt_cog.tif");
    const test::TemporaryFolder folder, whole;
    const int64_t all = runOf(corruptRequest(whole.path())).unreadableParts;
    std::stop_source stop;
    const RunOutcome part =
        runOf(corruptRequest(folder.path()), stop.get_token(), [&](const RunProgress& p) {
            if (p.done >= p.total - 1 && p.total > 1) stop.request_stop();
        });
    ASSERT_EQ(part.state, RunState::Cancelled) << part.error;
    const RunOutcome resumed = runOf(corruptRequest(folder.path()));
    ASSERT_EQ(resumed.state, RunState::Done) << resumed.error;
    EXPECT_GE(resumed.unreadableParts, all);
}

TEST(FindForeground, LeavesOutTheGlassOfASlide) {
    const auto slide = test::dataRoot() / "data/slides/CMU-1-Small-Region.svs";
    ATLAS_REQUIRE_DATA(slide);
    const auto source = io::openImage(slide.string());
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    const double share = findForeground(image).share(source->info(), 0, 0, 2220, 2967);
    EXPECT_GT(share, 0.2);
    EXPECT_LT(share, 0.9);
}

TEST(ParseResolution, UnderstandsUnitsAndNothingElse) {
    EXPECT_DOUBLE_EQ(parseResolution("0.5um"), 0.5);
    EXPECT_DOUBLE_EQ(parseResolution("0.5 \xc2\xb5m"), 0.5);
    EXPECT_DOUBLE_EQ(parseResolution("0.3m"), 300000);
    EXPECT_DOUBLE_EQ(parseResolution("25 cm"), 250000);
    for (const char* bad : {"", "0.5", "m", "-1um", "1 inch", "nan um"})
        EXPECT_THROW(parseResolution(bad), std::invalid_argument) << bad;
}

TEST(LengthText, HasSensibleDigitsAndUnits) {
    EXPECT_EQ(lengthText(16, false), "16 \xc2\xb5m");
    EXPECT_EQ(lengthText(4096, false), "4.1 mm");
    EXPECT_EQ(lengthText(4.8e6, true), "4.8 m");
    EXPECT_EQ(lengthText(1.2e9, true), "1.2 km");
    EXPECT_EQ(lengthText(2500, true), "2.5 mm");
    EXPECT_EQ(lengthText(0.5, true), "0.5 \xc2\xb5m");
}

}  // namespace
}  // namespace atlas::engine
