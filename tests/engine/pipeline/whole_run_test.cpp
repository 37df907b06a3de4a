// SPDX-License-Identifier: Apache-2.0
// A whole image as one context, through the pipeline: its answer, its files, cancelling and going
// on, masks; and what happens where memory is short.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/pipeline/classify_run.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

using test::runOf, test::textOf;

RunRequest wholeRequest(const fs::path& out, const std::string& image) {
    RunRequest request = test::sceneRequest(out, image);
    request.wholeImage = true;
    return request;
}

nlohmann::json jsonOf(const fs::path& path) {
    return nlohmann::json::parse(textOf(path));
}

TEST(WholeRun, OfOneContextSaysWhatTheContextSays) {
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path() / "whole", "synthetic:size=4096,seed=21");
    request.region = io::Rect{1024, 2048, 1024, 1024};
    const RunOutcome whole = runOf(request);
    ASSERT_EQ(whole.state, RunState::Done) << whole.error;
    request.wholeImage = false;
    request.out = folder.path() / "tiles";
    const RunOutcome tiles = runOf(request);
    ASSERT_EQ(tiles.state, RunState::Done) << tiles.error;
    EXPECT_NE(whole.folder.filename(), tiles.folder.filename());
    const LoadedRun a = loadRun(whole.folder), b = loadRun(tiles.folder);
    EXPECT_TRUE(a.whole);
    EXPECT_FALSE(b.whole);
    for (int c = 0; c < 10; ++c)
        EXPECT_NEAR(a.layers.probabilities.at(c, 0, 0), b.layers.probabilities.at(c, 0, 0), 1e-4);
    ASSERT_EQ(a.layers.attention.size(), b.layers.attention.size());
    for (size_t k = 0; k < a.layers.attention.size(); ++k) {
        const auto& x = a.layers.attention[k];
        const auto& y = b.layers.attention[k];
        ASSERT_EQ(x.values.size(), y.values.size());
        EXPECT_NEAR(x.cellWidth, y.cellWidth, 1e-9);
        for (size_t i = 0; i < x.values.size(); ++i)
            ASSERT_NEAR(x.values[i], y.values[i], 2e-3 * std::max(1.0f, y.values[i])) << k;
    }
    EXPECT_TRUE(b.layers.contributions.empty());
}

TEST(WholeRun, SaysWhereItsAnswerComesFrom) {
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path(), "synthetic:size=8192,seed=21");
    request.region = io::Rect{512, 256, 6000, 2300};  // neither square nor whole windows
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    const LoadedRun run = loadRun(outcome.folder);
    const auto record = jsonOf(outcome.folder / "run.json");
    const auto& facts = record.at("whole_image");
    EXPECT_EQ(facts.at("scales"), 4);
    EXPECT_EQ(facts.at("scales_with_weights"), 3);
    EXPECT_EQ(record.at("model").at("token_sides_um").size(), 4u);
    bool told = false;
    for (const auto& warning : outcome.warnings)
        told = told || warning.find("4 scales") != std::string::npos;
    EXPECT_TRUE(told);
    ASSERT_EQ(run.layers.classes.values.size(), 1u);
    ASSERT_EQ(run.layers.attention.size(), 4u);
    EXPECT_EQ(run.layers.attention[0].width, 375);
    EXPECT_EQ(run.layers.attention[0].height, 144);
    EXPECT_EQ(run.layers.mass.bands, 4);
    float mass = 0;
    for (int k = 0; k < 4; ++k) mass += run.layers.mass.at(k, 200, 70);
    EXPECT_NEAR(mass, 1, 1e-3);
    // The head reads scales 2 and 3; with the baseline their shares sum to the logits.
    ASSERT_EQ(run.layers.contributionScales, (std::vector<int>{2, 3}));
    for (int c = 0; c < 10; ++c) {
        double sum = facts.at("baseline").at(static_cast<size_t>(c)).get<double>();
        for (const auto& map : run.layers.contributions)
            for (int j = 0; j < map.height; ++j)
                for (int i = 0; i < map.width; ++i) sum += map.at(c, i, j);
        const double logit = facts.at("logits").at(static_cast<size_t>(c)).get<double>();
        EXPECT_NEAR(sum, logit, 1e-3 * std::max(1.0, std::abs(logit)));
    }
    EXPECT_EQ(run.layers.evidence.width, run.layers.contributions[0].width);
    for (const char* name : {"evidence.tif", "contributions_s2.tif", "overlay.png", "tiles.csv"})
        EXPECT_TRUE(fs::exists(outcome.folder / name)) << name;
    EXPECT_FALSE(fs::exists(outcome.folder / "tokens"));
}

TEST(WholeRun, CancelledItGoesOnToTheSameFiles) {
    const test::TemporaryFolder folder;
    const std::string image = "synthetic:size=6000,seed=5";
    const RunOutcome straight = runOf(wholeRequest(folder.path() / "a", image));
    ASSERT_EQ(straight.state, RunState::Done) << straight.error;
    const RunRequest request = wholeRequest(folder.path() / "b", image);
    // Stops in the blocks: the stem is done, and is not done again.
    std::stop_source stop;
    const RunOutcome cancelled = runOf(request, stop.get_token(), [&](const RunProgress& p) {
        if (p.fraction > 0 && p.bottleneck == "blocks") stop.request_stop();
    });
    ASSERT_EQ(cancelled.state, RunState::Cancelled) << cancelled.error;
    EXPECT_NE(cancelled.folder.string().find(".partial"), std::string::npos);
    double first = -1, before = 0;
    bool honest = true;
    const RunOutcome done = runOf(request, {}, [&](const RunProgress& p) {
        if (p.fraction < 0) return;
        if (first < 0) first = p.fraction;
        honest = honest && p.fraction >= before && p.fraction <= 1;
        before = p.fraction;
    });
    ASSERT_EQ(done.state, RunState::Done) << done.error;
    EXPECT_GT(first, 0.5);
    EXPECT_TRUE(honest);
    for (const char* name : {"classes.tif", "prob.tif", "attention_s0.tif", "mass.tif",
                             "contributions_s2.tif", "evidence.tif", "tiles.csv"})
        EXPECT_EQ(textOf(straight.folder / name), textOf(done.folder / name)) << name;
    EXPECT_TRUE(runOf(request).alreadyThere);
}

TEST(WholeRun, LeavesOutBackgroundAndSaysSo) {
    const fs::path slide = test::dataRoot() / "data" / "slides" / "CMU-1-Small-Region.svs";
    ATLAS_REQUIRE_DATA(slide);
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path(), slide.string());
    request.resolutionUm = 500000;  // the model is one of landscapes: only the run matters here
    request.mask = true;
    const RunOutcome masked = runOf(request);
    ASSERT_EQ(masked.state, RunState::Done) << masked.error;
    request.mask = false;
    const RunOutcome all = runOf(request);
    ASSERT_EQ(all.state, RunState::Done) << all.error;
    const auto a = jsonOf(masked.folder / "run.json").at("whole_image"),
               b = jsonOf(all.folder / "run.json").at("whole_image");
    EXPECT_TRUE(a.at("background_left_out"));
    EXPECT_FALSE(b.at("background_left_out"));
    EXPECT_EQ(b.at("windows_skipped"), 0);
    const LoadedRun run = loadRun(masked.folder);
    int left = 0;
    for (float v : run.layers.attention[0].values) left += std::isnan(v);
    EXPECT_GT(left, 0);  // no attention where nothing took part
    EXPECT_NE(a.at("logits"), b.at("logits"));
}

TEST(WholeRun, TooLittleMemoryIsSaidBeforeTheWork) {
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path(), "synthetic:size=20000,seed=5");
    request.memoryBytes = int64_t{100} << 20;
    const RunOutcome outcome = runOf(request);
    EXPECT_EQ(outcome.state, RunState::Failed);
    EXPECT_NE(outcome.error.find("--memory"), std::string::npos) << outcome.error;
}

/// Has memory for `most` contexts at once.
class NarrowClassifier : public Classifier {
  public:
    NarrowClassifier(std::unique_ptr<Classifier> real, size_t most, bool isOnProcessor = false)
        : real_(std::move(real)), most_(most), isOnProcessor_(isOnProcessor) {}
    const ModelConfig& config() const override { return real_->config(); }
    std::string deviceReason() const override { return "a narrow device"; }
    bool isOnProcessor() const override { return isOnProcessor_; }
    std::string versions() const override { return real_->versions(); }
    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool attention) const override {
        if (contexts.size() > most_) throw OutOfMemory("out of memory");
        return real_->classify(contexts, attention);
    }
    ContextAnalysis analyse(const ContextPixels& context,
                            const AnalysisRequest& request) const override {
        return real_->analyse(context, request);
    }
    WholeResult classifyWhole(const WholeImage& image, const WholeOptions& options,
                              const WholeProgress& progress) const override {
        if (most_ == 0) throw OutOfMemory("out of memory", {"went on with half"});
        return real_->classifyWhole(image, options, progress);
    }

  private:
    std::unique_ptr<Classifier> real_;
    size_t most_;
    bool isOnProcessor_;
};

TEST(ShortOfMemory, BatchesAreHalvedAndThenTheProcessorTakesOver) {
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path() / "plain", "synthetic:size=3072,seed=8");
    request.wholeImage = false;
    request.batch = 5;
    const RunOutcome plain = runOf(request);
    ASSERT_EQ(plain.state, RunState::Done) << plain.error;
    for (const size_t most : {size_t{2}, size_t{0}}) {
        request.out = folder.path() / std::to_string(most);
        request.device = "auto";
        const auto narrow = std::make_shared<NarrowClassifier>(
            Classifier::open(request.modelDir, ClassifierOptions{.device = "cpu", .cache = {}}),
            most);
        const RunOutcome outcome =
            ClassifyRun(request, std::make_shared<io::TileCache>(size_t{64} << 20), narrow)
                .run({}, [](const RunProgress&) {});
        ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
        EXPECT_EQ(outcome.contexts, 9);
        EXPECT_FALSE(outcome.warnings.empty());
        const bool processor = outcome.warnings.back().find("processor") != std::string::npos;
        EXPECT_EQ(processor, most == 0);
        const LoadedRun a = loadRun(plain.folder), b = loadRun(outcome.folder);
        for (size_t i = 0; i < a.layers.probabilities.values.size(); ++i)
            ASSERT_NEAR(a.layers.probabilities.values[i], b.layers.probabilities.values[i], 1e-5);
    }
}

TEST(ShortOfMemory, TheProcessorItselfSaysWhichImageWasTooMuch) {
    const test::TemporaryFolder folder;
    for (const bool whole : {false, true}) {
        RunRequest request = wholeRequest(folder.path(), "synthetic:size=1500,seed=8");
        request.wholeImage = whole;
        request.device = "auto";  // which may be the processor, too
        const auto hopeless = std::make_shared<NarrowClassifier>(
            Classifier::open(request.modelDir, ClassifierOptions{.device = "cpu", .cache = {}}), 0,
            /*isOnProcessor=*/true);
        const RunOutcome failed =
            ClassifyRun(request, std::make_shared<io::TileCache>(size_t{64} << 20), hopeless)
                .run({}, [](const RunProgress&) {});
        EXPECT_EQ(failed.state, RunState::Failed);
        EXPECT_EQ(failed.error.find(request.image + ": not enough memory for "), 0u)
            << failed.error;
    }
}

TEST(ShortOfMemory, AWholeImageIsDoneByTheProcessorThen) {
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path() / "plain", "synthetic:size=1500,seed=8");
    const RunOutcome plain = runOf(request);
    ASSERT_EQ(plain.state, RunState::Done) << plain.error;
    request.device = "auto";
    request.out = folder.path() / "narrow";
    const auto narrow = std::make_shared<NarrowClassifier>(
        Classifier::open(request.modelDir, ClassifierOptions{.device = "cpu", .cache = {}}), 0);
    const RunOutcome outcome =
        ClassifyRun(request, std::make_shared<io::TileCache>(size_t{64} << 20), narrow)
            .run({}, [](const RunProgress&) {});
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    ASSERT_GE(outcome.warnings.size(), 2u);
    EXPECT_EQ(outcome.warnings[0], "went on with half");  // what the device tried is told, too
    EXPECT_NE(outcome.warnings[1].find("went on on the processor"), std::string::npos);
    const LoadedRun a = loadRun(plain.folder), b = loadRun(outcome.folder);
    EXPECT_EQ(a.layers.probabilities.values, b.layers.probabilities.values);
}

TEST(ShortOfMemory, ADeviceTriesHalfAndAQuarterFirst) {
    const std::filesystem::path model = wholeRequest({}, "").modelDir;
    const auto device =
        Classifier::open(model, ClassifierOptions{.device = "cpu:libtorch", .cache = {}});
    WholeImage image;
    image.height = image.width = 600;
    image.pixels = [](int64_t, int64_t rows, int64_t, int64_t columns, uint8_t* rgba) {
        std::fill_n(rgba, rows * columns * 4, uint8_t{200});
    };
    const WholeResult plain = device->classifyWhole(image, {}, {});
    EXPECT_TRUE(plain.notes.empty());
    int failures = 1;  // so many times
    const auto progress = [&](const char*, double) {
        if (failures-- > 0) throw std::bad_alloc();
    };
    const WholeResult half = device->classifyWhole(image, {}, progress);
    ASSERT_EQ(half.notes.size(), 1u);
    EXPECT_NE(half.notes[0].find("half of the device's memory"), std::string::npos);
    for (size_t i = 0; i < plain.logits.size(); ++i)
        EXPECT_NEAR(plain.logits[i], half.logits[i], 1e-4);
    failures = 3;
    try {
        device->classifyWhole(image, {}, progress);
        FAIL();
    } catch (const OutOfMemory& error) {
        EXPECT_EQ(error.tried.size(), 2u);
    }
}

/// What a GPU does, by the processor.
class OnADevice : public testing::TestWithParam<std::tuple<bool, std::string>> {};
INSTANTIATE_TEST_SUITE_P(Runs, OnADevice,
                         testing::Combine(testing::Bool(), testing::Values("fp32", "bf16")));

TEST_P(OnADevice, EqualsTheProcessor) {
    const auto& [whole, precision] = GetParam();
    const test::TemporaryFolder folder;
    RunRequest request = wholeRequest(folder.path() / "cpu", "synthetic:size=2100,seed=5");
    request.wholeImage = whole;
    const RunOutcome expected = runOf(request);
    ASSERT_EQ(expected.state, RunState::Done) << expected.error;
    request.device = "cpu:libtorch";
    request.precision = precision;
    request.out = folder.path() / "device";
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    const LoadedRun a = loadRun(expected.folder), b = loadRun(outcome.folder);
    EXPECT_NE(textOf(outcome.folder / "run.json").find("LibTorch's operations"), std::string::npos);
    const double tolerance = precision == "bf16" ? 0.03 : 1e-4;
    const auto compare = [&](const io::GridRaster& x, const io::GridRaster& y) {
        ASSERT_EQ(x.values.size(), y.values.size());
        double peak = 1;
        for (const float v : x.values)
            if (!std::isnan(v)) peak = std::max<double>(peak, std::abs(v));
        for (size_t i = 0; i < x.values.size(); ++i) {
            ASSERT_EQ(std::isnan(x.values[i]), std::isnan(y.values[i]));
            if (!std::isnan(x.values[i])) {
                ASSERT_NEAR(x.values[i], y.values[i], tolerance * peak);
            }
        }
    };
    compare(a.layers.probabilities, b.layers.probabilities);
    compare(a.layers.mass, b.layers.mass);
    ASSERT_EQ(a.layers.attention.size(), b.layers.attention.size());
    for (size_t k = 0; k < a.layers.attention.size(); ++k)
        compare(a.layers.attention[k], b.layers.attention[k]);
    ASSERT_EQ(a.layers.contributions.size(), b.layers.contributions.size());
    EXPECT_EQ(a.layers.contributions.empty(), !whole);
    for (size_t k = 0; k < a.layers.contributions.size(); ++k)
        compare(a.layers.contributions[k], b.layers.contributions[k]);
}

}  // namespace
}  // namespace atlas::engine
