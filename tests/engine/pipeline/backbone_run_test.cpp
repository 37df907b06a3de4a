// SPDX-License-Identifier: Apache-2.0
// The sister networks in the same pipeline: model folder, run, layers, and clear words for what
// only Atlas can do.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/model_error.h"
#include "engine/nn/pil_resize.h"
#include "engine/nn/safetensors.h"
#include "engine/pipeline/explain.h"
#include "engine/pipeline/run_folder.h"
#include "engine/pipeline/trust.h"
#include "io/reader_registry.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Kind {
    const char* architecture;
    json network;
    int64_t side;
    std::vector<int64_t> tokens;  ///< that its maps should have
};

/// A model folder with random weights.
fs::path modelFolder(const fs::path& dir, const Kind& kind) {
    ModelConfig config;
    config.name = kind.architecture;
    config.classNames = {"a", "b", "c", "d"};
    config.classColors = defaultClassColors(4);
    config.patchSizePx = kind.side;
    config.spacingUmPx = 500000;
    config.ground = true;
    config.mean = {0.5f, 0.5f, 0.5f};
    config.std = {0.25f, 0.25f, 0.25f};
    json network = kind.network;
    network["num_classes"] = 4;
    config.setBackbone(kind.architecture, network);
    saveModelConfig(dir, config);
    StateDict weights;
    for (const auto& [name, shape] : Backbone::weightsOf(kind.architecture, network)) {
        at::Tensor t = at::rand(shape) * 0.2 - 0.1;
        if (name.ends_with("running_var")) t = at::ones(shape);
        weights[name] = t;
    }
    saveSafetensors(dir / "model.safetensors", weights);
    return dir;
}

const std::vector<Kind> kKinds{
    {"vil",
     {{"arch", "l1,h2,d16,n1,s1,g1,p4,f7,a1_l2,h2,d32,n1,s1,g0,p2,f7,a0_l3,h2,d32,n1,s0,g1,p4,a0"},
      {"image_size", 256}},
     256,
     {4, 4, 8, 32, 32}},
    {"halonet",
     {{"stem_type", "3x3"},
      {"stem_pool", ""},
      {"stem_channels", 16},
      {"shortcut", "conv1x1"},
      {"activation", "relu"},
      {"channel_attention", nullptr},
      {"num_classes", 4},
      {"stages",
       {{{"stride", 2},
         {"blocks", {{{"type", "bottle"}, {"out_channels", 32}, {"bottleneck_ratio", 0.5}}}}},
        {{"stride", 2},
         {"blocks",
          {{{"type", "self_attn"},
            {"out_channels", 32},
            {"bottleneck_ratio", 0.5},
            {"self_attn", {{"block_size", 8}, {"halo_size", 2}, {"num_heads", 2}}}},
           {{"type", "self_attn"},
            {"out_channels", 32},
            {"bottleneck_ratio", 0.5},
            {"self_attn", {{"block_size", 8}, {"halo_size", 2}, {"num_heads", 2}}}}}}}}}},
     256,
     {8}},
    {"scalablevit",
     {{"dims", {16, 32}},
      {"num_heads", {1, 2}},
      {"depths", {2, 2}},
      {"window_sizes", {8, 8}},
      {"spatial_reduction", {8, 2}},
      {"mlp_ratios", {2, 2}},
      {"channel_ratio", {1, 1}},
      {"head", "linear"}},
     256,
     {4, 32, 8, 16}}};

std::unique_ptr<Backbone> randomNetwork(const Kind& kind) {
    json network = kind.network;
    network["num_classes"] = 4;
    StateDict weights;
    at::manual_seed(9);
    for (const auto& [name, shape] : Backbone::weightsOf(kind.architecture, network))
        weights[name] = name.ends_with("running_var") ? at::ones(shape) : at::randn(shape) * 0.3;
    return Backbone::make(kind.architecture, network, weights);
}

at::Tensor probed(const Backbone& network, const at::Tensor& image, int64_t map, double u,
                  double v) {
    BackboneTrace trace;
    trace.probedMap = map;
    trace.probe.u = u;
    trace.probe.v = v;
    network.forward(image, &trace);
    return trace.probe.weights;
}

TEST(BackboneProbe, ProbesOfEveryPlaceTogetherAreTheAttentionReceived) {
    Kind wrapped = kKinds[0];  // windows reach round the border, also over the padding
    wrapped.network["mask_rule"] = -1;
    struct Case {
        Kind kind;
        int64_t side, map;
        int queries;  ///< along a side of the grid that looks
    };
    for (const auto& [kind, side, map, queries] : {Case{kKinds[0], 64, 0, 16},
                                                   {kKinds[0], 64, 2, 8},
                                                   {kKinds[0], 96, 3, 3},
                                                   {wrapped, 96, 0, 24},
                                                   {kKinds[1], 256, 0, 32},
                                                   {kKinds[2], 128, 0, 32},
                                                   {kKinds[2], 128, 2, 16},
                                                   {kKinds[2], 128, 3, 16}}) {
        SCOPED_TRACE(std::string(kind.architecture) + " " + std::to_string(map));
        const auto network = randomNetwork(kind);
        const at::NoGradGuard noGradient;
        const at::Tensor image = at::randn({1, 3, side, side});
        BackboneTrace trace;
        trace.attention = true;
        network->forward(image, &trace);
        at::Tensor sum;
        for (int y = 0; y < queries; ++y)
            for (int x = 0; x < queries; ++x) {
                const at::Tensor one =
                    probed(*network, image, map, (x + 0.5) / queries, (y + 0.5) / queries);
                sum = sum.defined() ? sum + one : one;
            }
        const at::Tensor wanted = trace.maps[static_cast<size_t>(map)];
        ASSERT_EQ(sum.sizes(), wanted.sizes());
        EXPECT_LE((sum / sum.mean() - wanted).abs().max().item<double>(),
                  1e-4 * wanted.max().item<double>());
        EXPECT_GT((wanted - 1).abs().max().item<double>(), 0.02) << "uneven, or it says little";
    }
}

TEST(BackboneProbe, VisionLongformersPlacesLookIntoTheirNeighbourhood) {
    const auto network = randomNetwork(kKinds[0]);
    const at::NoGradGuard noGradient;
    const at::Tensor image = at::randn({2, 3, 256, 256});
    // 64 places a side in windows of 7, with one global token: the windows around are seen.
    const at::Tensor map = probed(*network, image, 0, 30.5 / 64, 9.5 / 64);
    ASSERT_EQ(map.sizes(), (std::vector<int64_t>{2, 64, 64}));
    const at::Tensor seen = map[0].gt(0);
    EXPECT_EQ(seen.sum().item<int64_t>(),
              seen.slice(0, 0, 21).slice(1, 21, 42).sum().item<int64_t>());
    EXPECT_GT(seen.sum().item<int64_t>(), 200);
    BackboneTrace trace;
    trace.attention = true;
    network->forward(image, &trace);
    const double onGlobals = trace.mass.at(1)[0][9][30].item<double>();
    const double sum = map[0].sum().item<double>();
    EXPECT_NEAR(sum, 1 - onGlobals, 1e-5);
    EXPECT_GT(sum, 0.5);
    EXPECT_LT(sum, 1) << "the rest goes to the global token";
    // A change of a pixel that the place does not see leaves its weights as they were.
    at::Tensor other = image.clone();
    other.slice(2, 200).slice(3, 200).add_(1);
    EXPECT_LE((probed(*network, other, 0, 30.5 / 64, 9.5 / 64) - map).abs().max().item<double>(),
              1e-6);
    // In the last stage everything is seen.
    const at::Tensor all = probed(*network, image, 3, 0.2, 0.7);
    EXPECT_EQ(all.gt(0).sum().item<int64_t>(), all.numel());
    EXPECT_LT(all[0].sum().item<double>(), 1 + 1e-5);
}

TEST(BackboneRun, EveryArchitectureRunsThroughThePipeline) {
    for (const auto& kind : kKinds) {
        SCOPED_TRACE(kind.architecture);
        const test::TemporaryFolder folder;
        RunRequest request =
            test::sceneRequest(folder.path() / "out", "synthetic:size=1024,seed=21");
        request.modelDir = modelFolder(folder.path() / "model", kind);
        request.attention = true;
        EXPECT_EQ(loadModelConfig(request.modelDir).tokenSidesPx(), kind.tokens);
        const auto outcome = test::runOf(request);
        ASSERT_EQ(outcome.error, "");
        const auto run = loadRun(outcome.folder);
        EXPECT_EQ(run.tiles.size(), 16u);
        ASSERT_EQ(run.layers.attention.size(), kind.tokens.size());
        // Of Vision Longformer: what the finest places spend on their neighbours and on tokens
        // that stand for all.
        const bool shares = kind.architecture == std::string("vil");
        ASSERT_EQ(run.layers.hasMass(), shares);
        EXPECT_EQ(run.massNames.size(), shares ? 2u : 0u);
        EXPECT_EQ(run.mapNames, loadModelConfig(request.modelDir).mapNames);
        if (shares) {
            EXPECT_EQ(run.layers.mass.bands, 2);
            EXPECT_EQ(run.layers.mass.width, 256);
            EXPECT_NE(run.layers.mass.bandNames[1].find("global"), std::string::npos);
            EXPECT_NEAR(run.tiles[0].meanMass[0] + run.tiles[0].meanMass[1], 1, 1e-4);
        }
        for (size_t k = 0; k < kind.tokens.size(); ++k) {
            const auto& map = run.layers.attention[k];
            EXPECT_EQ(map.width, 1024 / kind.tokens[k]);
            double sum = 0;
            for (float v : map.values) sum += v;
            EXPECT_NEAR(sum / static_cast<double>(map.values.size()), 1, 0.01) << "even shares";
        }
        // The same answers as the network gives by itself.
        const auto source = io::openImage(request.image);
        const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                    std::make_shared<io::TileCache>(size_t{64} << 20));
        const auto classifier = Classifier::open(request.modelDir, {.device = "cpu", .cache = {}});
        const auto alone =
            classifier->classify({{image.region(0, {256, 512, 256, 256}).rgba}}, false).at(0);
        const auto tile = std::find_if(run.tiles.begin(), run.tiles.end(),
                                       [](const TileRow& t) { return t.x == 256 && t.y == 512; });
        ASSERT_NE(tile, run.tiles.end());
        for (size_t c = 0; c < 4; ++c)
            EXPECT_NEAR(tile->probabilities[c], alone.probabilities[c], 1e-4);
        // The probe lies on the context and on the place asked about.
        for (int scale = 0; scale < static_cast<int>(kind.tokens.size()); ++scale) {
            const auto probe = probeAt(image, *classifier, request, {scale}, 300, 600);
            ASSERT_EQ(probe.scales.size(), kind.tokens.size());
            const auto& map = probe.scales[static_cast<size_t>(scale)];
            EXPECT_EQ(map.width, 256 / kind.tokens[static_cast<size_t>(scale)]);
            EXPECT_EQ(map.x, 256);
            EXPECT_LE(probe.token.x, 300);
            EXPECT_GT(probe.token.x + probe.token.cellWidth, 300);
            EXPECT_GT(probe.mass[static_cast<size_t>(scale)], 0.2);
            EXPECT_LE(probe.mass[static_cast<size_t>(scale)], 1 + 1e-5);
        }
        // What only Atlas can do is said, not done wrongly.
        EXPECT_THROW(flowAt(image, *classifier, request, 100, 100), ModelError);
        EXPECT_THROW(contributionsAt(image, *classifier, request, 100, 100), std::runtime_error);
        WhatIf blur;
        blur.region = {0, 0, 128, 128};
        EXPECT_EQ(whatIf(image, *classifier, request, blur, 100, 100).after.size(), 4u);
        request.wholeImage = true;
        EXPECT_NE(test::runOf(request).error.find("Atlas"), std::string::npos);
    }
}

TEST(ExportedModel, RunsOnlyWhenItsFileIsTrusted) {
    const test::TemporaryFolder folder;
    RunRequest request = test::sceneRequest(folder.path() / "out", "synthetic:size=1024,seed=21");
    request.modelDir = test::writeTorchScript(folder.path() / "model");
    request.trustFile = folder.path() / "data" / "trusted.json";
    EXPECT_FALSE(codeOf(test::kModels / "scenes"));
    const auto code = codeOf(request.modelDir);
    ASSERT_TRUE(code);
    EXPECT_EQ(code->sha256.size(), 64u);
    EXPECT_FALSE(isTrusted(*code, request.trustFile));
    EXPECT_NE(test::runOf(request).error.find("trust"), std::string::npos);
    trust(*code, request.trustFile);
    EXPECT_TRUE(isTrusted(*code, request.trustFile));
    EXPECT_FALSE(isTrusted(*code, {}));
    const auto outcome = test::runOf(request);
    ASSERT_EQ(outcome.error, "");
    const auto run = loadRun(outcome.folder);
    EXPECT_EQ(run.classNames, (std::vector<std::string>{"bright", "dark"}));
    EXPECT_EQ(run.tiles.size(), 16u);
    EXPECT_FALSE(run.layers.hasAttention());
    // By hand: the mean brightness through the softmax of +b and -b.
    const auto source = io::openImage(request.image);
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    const auto pixels = image.region(0, {512, 256, 256, 256}).rgba;
    double mean = 0;
    for (size_t i = 0; i < pixels.size(); ++i)
        if (i % 4 != 3) mean += pixels[i];
    mean = (mean / (256 * 256 * 3) / 255 - 0.4) / 0.2;
    const auto tile = std::find_if(run.tiles.begin(), run.tiles.end(),
                                   [](const TileRow& t) { return t.x == 512 && t.y == 256; });
    ASSERT_NE(tile, run.tiles.end());
    EXPECT_NEAR(tile->probabilities[0], 1 / (1 + std::exp(-2 * mean)), 2e-3);
    std::ofstream(request.trustFile) << "{broken";
    EXPECT_FALSE(isTrusted(*code, request.trustFile));
}

TEST(ExportedModel, ResizesLikePillow) {
    // Worked out by hand: 4 to 2 with a triangle of twice the width; 2 to 4 between neighbours.
    const std::vector<uint8_t> line{0, 10, 200, 255};
    EXPECT_EQ(resizeLikePillow(line.data(), 1, 4, 1, 1, 2), (std::vector<uint8_t>{33, 196}));
    const std::vector<uint8_t> two{0, 100};
    EXPECT_EQ(resizeLikePillow(two.data(), 1, 2, 1, 1, 4), (std::vector<uint8_t>{0, 25, 75, 100}));
    EXPECT_EQ(resizeLikePillow(two.data(), 2, 1, 1, 2, 1), two);
}

TEST(BackboneRun, ModelFoldersAreCheckedByName) {
    const test::TemporaryFolder folder;
    Kind kind = kKinds[1];
    const fs::path dir = modelFolder(folder.path() / "model", kind);
    std::ifstream file(dir / "config.json");
    json config = json::parse(file);
    const auto errorOf = [&](const json& text) -> std::string {
        std::ofstream(dir / "config.json") << text.dump();
        try {
            Classifier::open(dir, {.device = "cpu", .cache = {}});
        } catch (const ModelError& error) {
            return error.what();
        }
        return {};
    };
    EXPECT_EQ(errorOf(config), "");
    json odd = config;
    odd["patch_size_pixels"] = 200;
    EXPECT_NE(errorOf(odd).find("multiples of"), std::string::npos) << errorOf(odd);
    odd = config;
    odd["atlas"]["backbone"]["stages"][0]["stride"] = "two";
    EXPECT_NE(errorOf(odd).find("config.json"), std::string::npos);
    odd = config;
    odd["atlas"]["backbone"]["stem_channels"] = 24;
    EXPECT_NE(errorOf(odd).find("wrong shape"), std::string::npos) << errorOf(odd);
    for (const auto& each : kKinds)
        for (const int64_t side : {16, 250}) {  // contexts that would lose places at their border
            Kind cut = each;
            cut.side = side;
            EXPECT_THROW(modelFolder(folder.path() / "cut", cut), ModelError) << each.architecture;
        }
}

}  // namespace
}  // namespace atlas::engine
