// SPDX-License-Identifier: Apache-2.0
// Questions about a context, against the same computed by hand, and faithfulness of maps that are
// known to be right, wrong, or noise.
#include "engine/pipeline/explain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/nn/atlas.h"
#include "engine/nn/model_error.h"
#include "engine/nn/safetensors.h"
#include "engine/pipeline/run_folder.h"
#include "io/reader_registry.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

using test::kModels, test::sceneRequest;

std::shared_ptr<const io::ColorSource> sceneImage(const std::string& name) {
    const auto source = io::openImage(name, {});
    return std::make_shared<io::ColorSource>(source, io::defaultDisplay(source->info()),
                                             std::make_shared<io::TileCache>(size_t{64} << 20));
}

std::unique_ptr<Classifier> scenes() {
    return Classifier::open(kModels / "scenes", {.device = "cpu", .cache = {}});
}

const std::string kScene = "synthetic:size=4096,seed=21";

TEST(Explain, ContributionsSumToTheLogits) {
    const auto image = sceneImage(kScene);
    const auto classifier = scenes();
    const auto result = contributionsAt(*image, *classifier, sceneRequest({}, kScene), 1500, 2500);
    EXPECT_EQ(result.context.x, 1024);
    EXPECT_EQ(result.context.y, 2048);
    ASSERT_FALSE(result.maps.empty());
    for (int c = 0; c < static_cast<int>(result.logits.size()); ++c) {
        double sum = result.baseline[static_cast<size_t>(c)];
        for (const auto& map : result.maps)
            for (int y = 0; y < map.height; ++y)
                for (int x = 0; x < map.width; ++x) sum += map.at(c, x, y);
        const double logit = result.logits[static_cast<size_t>(c)];
        EXPECT_NEAR(sum, logit, 1e-4 * std::max(1.0, std::abs(logit)));
    }
    EXPECT_DOUBLE_EQ(result.maps[0].x, 1024);
    EXPECT_NEAR(result.maps[0].cellWidth * result.maps[0].width, 1024, 1e-6);
}

/// `scenes` with random weights, its first stage looking at memories.
std::filesystem::path externalModel(const std::filesystem::path& dir) {
    ModelConfig config = loadModelConfig(kModels / "scenes");
    config.patchSizePx = 512;
    auto& stage = config.network.stages[0];
    stage.blocks.assign(static_cast<size_t>(stage.depth), BlockAttention::External);
    saveModelConfig(dir, config);
    saveSafetensors(dir / "model.safetensors", initialAtlasWeights(config.network, 3));
    return dir;
}

TEST(Explain, BlocksThatLookAtMemoriesRunEverywhereAndSayWhatTheyCannotTell) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path() / "out", "synthetic:size=1024,seed=21");
    request.modelDir = externalModel(folder.path() / "model");
    request.attention = true;
    EXPECT_EQ(loadModelConfig(request.modelDir).network.stages[0].attentionOf(0),
              BlockAttention::External);
    const auto outcome = test::runOf(request);
    ASSERT_EQ(outcome.error, "");
    const auto run = loadRun(outcome.folder);
    ASSERT_EQ(run.layers.attention.size(), run.tokenSidesUm.size());
    ASSERT_TRUE(run.layers.hasMass());
    for (const auto& tile : run.tiles) {
        EXPECT_NEAR(tile.meanMass[0], 1, 1e-5) << "all falls on the scale itself";
        for (size_t k = 1; k < tile.meanMass.size(); ++k) EXPECT_EQ(tile.meanMass[k], 0);
    }
    const auto image = sceneImage(request.image);
    const auto classifier = Classifier::open(request.modelDir, {.device = "cpu", .cache = {}});
    try {
        probeAt(*image, *classifier, request, {0}, 300, 300);
        FAIL() << "memories were taken for tokens";
    } catch (const ModelError& error) {
        EXPECT_NE(std::string(error.what()).find("memories"), std::string::npos);
    }
    const auto parts = contributionsAt(*image, *classifier, request, 300, 300);
    EXPECT_FALSE(parts.maps.empty());
    EXPECT_FALSE(flowAt(*image, *classifier, request, 300, 300).depths.empty());
    request.wholeImage = true;
    EXPECT_EQ(test::runOf(request).error, "");
}

TEST(Explain, FlowLiesOnTheContextAndSumsToOne) {
    const auto image = sceneImage(kScene);
    const auto classifier = scenes();
    const auto flow = flowAt(*image, *classifier, sceneRequest({}, kScene), 1500, 2500);
    EXPECT_EQ(flow.context.x, 1024);
    ASSERT_GT(flow.depths.size(), 3u);
    for (const auto& depth : flow.depths) {
        double sum = 0;
        for (const auto& map : depth.scales)
            for (float v : map.values) sum += v;
        EXPECT_NEAR(sum, 1, 1e-4);
    }
    EXPECT_EQ(flow.depths.front().scales[0].width, 64);
    EXPECT_EQ(flow.depths.front().scales[1].width, 0);
    EXPECT_DOUBLE_EQ(flow.depths.front().scales[0].x, 1024);
}

TEST(Explain, ADrawnShapeIsBlurredInsideItsOutlineAlone) {
    const auto image = sceneImage(kScene);
    const auto classifier = scenes();
    const RunRequest request = sceneRequest({}, kScene);
    const ContextView view = contextAt(*image, classifier->config(), request, 100, 100);
    WhatIf change;
    change.region = {200, 200, 400, 400};
    change.outline = {{{200, 200}, {600, 200}, {200, 600}}, {{250, 250}, {300, 250}, {250, 300}}};
    const auto result = whatIf(*image, *classifier, request, change, 100, 100);
    EXPECT_NE(result.change.find("drawn shape"), std::string::npos);
    // By hand: the triangle without its hole; pixels on the border may go either way.
    ContextPixels changed = view.pixels;
    const ContextPixels soft = blurred(view.pixels, 1024);
    for (int y = 0; y < 1024; ++y)
        for (int x = 0; x < 1024; ++x) {
            const bool inside = x >= 200 && y >= 200 && x + y <= 800;
            const bool hole = x > 250 && y > 250 && x + y < 550;
            const auto i = static_cast<size_t>(4 * (y * 1024 + x));
            if (inside && !hole)
                for (size_t c = 0; c < 4; ++c) changed.rgba[i + c] = soft.rgba[i + c];
        }
    const auto expected = classifier->classify({changed}, false).at(0).probabilities;
    for (size_t c = 0; c < expected.size(); ++c) EXPECT_NEAR(result.after[c], expected[c], 0.01);
    change.change = WhatIf::Change::MaskTokens;
    EXPECT_FALSE(whatIf(*image, *classifier, request, change, 100, 100).after.empty());
    change.outline = {{{1e9, 1e9}, {2e9, 1e9}, {1e9, 2e9}}};
    EXPECT_THROW(whatIf(*image, *classifier, request, change, 100, 100), std::runtime_error);
}

TEST(Explain, WhatIfIsTheNetworkRunAgain) {
    const auto image = sceneImage(kScene);
    const auto classifier = scenes();
    const RunRequest request = sceneRequest({}, kScene);
    const ContextView view = contextAt(*image, classifier->config(), request, 100, 100);
    const auto plain = classifier->classify({view.pixels}, false).at(0).probabilities;

    WhatIf change;
    change.change = WhatIf::Change::ScaleOff;
    change.scale = 2;
    const auto off = whatIf(*image, *classifier, request, change, 100, 100);
    EXPECT_EQ(off.change, "no other scale sees scale 2 (128 m)");
    AnalysisRequest asked;
    asked.scaleOff = 2;
    const auto direct = classifier->analyse(view.pixels, asked).probabilities;
    double moved = 0;
    for (size_t c = 0; c < plain.size(); ++c) {
        EXPECT_NEAR(off.before[c], plain[c], 1e-5);
        EXPECT_NEAR(off.after[c], direct[c], 1e-6);
        moved += std::abs(off.after[c] - off.before[c]);
    }
    EXPECT_GT(moved, 1e-4);
    change.scale = 7;
    EXPECT_THROW(whatIf(*image, *classifier, request, change, 100, 100), std::runtime_error);

    change.change = WhatIf::Change::Blur;
    change.region = {512, 256, 2000, 200};  // sticks out: cut to the context
    const auto blur = whatIf(*image, *classifier, request, change, 100, 100);
    EXPECT_EQ(blur.change, "region of 256 m x 100 m blurred");
    ContextPixels changed = view.pixels;
    const ContextPixels soft = blurred(view.pixels, 1024);
    for (size_t y = 256; y < 456; ++y)
        for (size_t i = 4 * (y * 1024 + 512); i < 4 * (y * 1024 + 1024); ++i)
            changed.rgba[i] = soft.rgba[i];
    const auto expected = classifier->classify({changed}, false).at(0).probabilities;
    for (size_t c = 0; c < plain.size(); ++c) EXPECT_NEAR(blur.after[c], expected[c], 1e-5);

    change.change = WhatIf::Change::MaskTokens;
    const auto masked = whatIf(*image, *classifier, request, change, 100, 100);
    EXPECT_FALSE(masked.after.empty());
    change.region = {0, 0, 1024, 1024};
    EXPECT_TRUE(whatIf(*image, *classifier, request, change, 100, 100).after.empty());
    change.region = {3000, 3000, 10, 10};
    EXPECT_THROW(whatIf(*image, *classifier, request, change, 100, 100), std::runtime_error);
    EXPECT_THROW(contextAt(*image, classifier->config(), request, -5, 10), std::runtime_error);
}

/// Answers by the brightness of the top left quarter. Its maps: scale 0 points there, scale 1 at
/// everything else, and the contributions are noise.
class QuarterClassifier : public Classifier {
  public:
    QuarterClassifier() : config_(loadModelConfig(kModels / "scenes")) {}
    const ModelConfig& config() const override { return config_; }
    std::string deviceReason() const override { return "none"; }
    bool isOnProcessor() const override { return true; }
    std::string versions() const override { return "none"; }
    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool attention) const override {
        std::vector<ContextResult> results;
        for (const auto& context : contexts) {
            ContextResult result;
            const float p = 0.55f + 0.45f * detail(context);
            result.probabilities = {p, 1 - p};
            if (attention) result.received = {quarter(64, 1), quarter(16, 0)};
            results.push_back(result);
        }
        return results;
    }
    ContextAnalysis analyse(const ContextPixels&, const AnalysisRequest&) const override {
        ContextAnalysis analysis;
        TokenGrid noise{0, 64, 64, 2, {}};
        std::mt19937 random(3);
        for (int i = 0; i < 2 * 64 * 64; ++i)
            noise.values.push_back(std::uniform_real_distribution<float>(0, 1)(random));
        analysis.contributions = {noise};
        return analysis;
    }
    WholeResult classifyWhole(const WholeImage&, const WholeOptions&,
                              const WholeProgress&) const override {
        return {};
    }

  private:
    /// How rough the quarter is: blurring takes that away.
    static float detail(const ContextPixels& context) {
        double sum = 0;
        for (size_t y = 0; y < 512; ++y)
            for (size_t x = 1; x < 512; ++x) {
                const size_t at = 4 * (y * 1024 + x);
                sum += std::abs(context.rgba[at] - context.rgba[at - 4]);
            }
        return static_cast<float>(std::min(1.0, sum / (512 * 512 * 12.0)));
    }
    static ScaleMap quarter(int64_t side, float inside) {
        ScaleMap map{side, {}};
        for (int64_t i = 0; i < side * side; ++i)
            map.values.push_back(i / side < side / 2 && i % side < side / 2 ? inside : 1 - inside);
        return map;
    }
    ModelConfig config_;
};

TEST(Faithfulness, TellsRightFromWrongAndNoise) {
    const auto image = sceneImage(kScene);
    const QuarterClassifier classifier;
    FaithfulnessOptions options;
    options.contexts = 5;
    double last = 0;
    const auto result =
        faithfulness(*image, classifier, sceneRequest({}, kScene), options, {}, [&](double done) {
            EXPECT_GE(done, last);
            last = done;
        });
    EXPECT_NEAR(last, 1, 1e-9);
    EXPECT_EQ(result.contexts, 5);
    ASSERT_EQ(result.curves.size(), 3u);
    for (const auto& curve : result.curves) {
        ASSERT_EQ(curve.ranked.size(), 11u);
        EXPECT_NEAR(curve.ranked[0], curve.random[0], 1e-9);    // nothing blurred
        EXPECT_NEAR(curve.ranked[10], curve.random[10], 1e-6);  // all of it
    }
    EXPECT_TRUE(result.curves[0].betterThanRandom());
    EXPECT_GT(result.curves[0].gain, 0.02);
    EXPECT_LT(result.curves[1].gainHigh, 0);  // points away from what matters
    EXPECT_FALSE(result.curves[1].betterThanRandom());
    EXPECT_EQ(result.curves[2].map, "contributions");
    EXPECT_LT(std::abs(result.curves[2].gain), 0.2 * result.curves[0].gain);
}

TEST(Faithfulness, OfTheBundledModelIsRepeatableAndCanBeStopped) {
    const auto image = sceneImage(kScene);
    const auto classifier = scenes();
    FaithfulnessOptions options;
    options.contexts = 2;
    options.randomOrders = 1;
    const RunRequest request = sceneRequest({}, kScene);
    const auto once = faithfulness(*image, *classifier, request, options, {}, [](double) {});
    const auto again = faithfulness(*image, *classifier, request, options, {}, [](double) {});
    ASSERT_EQ(once.curves.size(), 4u);  // attention of three scales, contributions of one
    for (size_t i = 0; i < once.curves.size(); ++i)
        EXPECT_NEAR(once.curves[i].gain, again.curves[i].gain, 1e-9);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_TRUE(faithfulness(*image, *classifier, request, options, stop.get_token(), [](double) {
                }).curves.empty());
    RunRequest one = request;
    one.region = io::Rect{0, 0, 1024, 1024};
    EXPECT_THROW(faithfulness(*image, *classifier, one, options, {}, [](double) {}),
                 std::runtime_error);
}

}  // namespace
}  // namespace atlas::engine
