// SPDX-License-Identifier: Apache-2.0
// The published sizes of the backbones: names, shapes and numbers of parameters; sizes that they
// refuse; attention maps. Parity of the forward passes: golden_test.
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/backbones/halonet.h"
#include "engine/nn/backbones/vil.h"
#include "engine/nn/model_error.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// Weights that a network asks for, small and random.
StateDict randomBackbone(const std::string& architecture, const json& config) {
    StateDict weights;
    for (const auto& [name, shape] : Backbone::weightsOf(architecture, config))
        weights[name] = name.ends_with("running_var") ? at::ones(shape) : at::randn(shape) * 0.05;
    return weights;
}

class KeyLists : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(KeyLists, LoadWithoutAMissingOrAnExtraName) {
    const auto [architecture, name] = GetParam();
    const auto path = test::dataRoot() / "golden" / (std::string(name) + ".keys.json");
    ATLAS_REQUIRE_DATA(path);
    std::ifstream file(path);
    const json list = json::parse(file);
    for (const std::string prefix : {"", "module.", "net.module."}) {
        StateDict weights;
        for (const auto& key : list.at("keys"))
            weights[prefix + key.at("key").get<std::string>()] =
                at::zeros(key.at("shape").get<std::vector<int64_t>>());
        EXPECT_NO_THROW(Backbone::make(architecture, {{"variant", name}}, weights)) << prefix;
        weights.erase(weights.begin());
        EXPECT_THROW(Backbone::make(architecture, {{"variant", name}}, weights), ModelError);
    }
}

INSTANTIATE_TEST_SUITE_P(Published, KeyLists,
                         testing::Values(std::pair{"vil", "vil_small"},
                                         std::pair{"vil", "vil_small_rpe"},
                                         std::pair{"halonet", "halonet50ts"},
                                         std::pair{"scalablevit", "scalablevit_s"}));

// Millions of parameters, as the specification's tables have them.
TEST(Backbones, HaveAsManyParametersAsPublished) {
    const std::tuple<const char*, const char*, double> published[] = {
        {"vil", "vil_tiny", 6.7},
        {"vil", "vil_small", 24.6},
        {"vil", "vil_medium_deep", 39.7},
        {"vil", "vil_medium_wide", 39.8},
        {"vil", "vil_base_deep", 55.7},
        {"vil", "vil_base_wide", 79.0},
        {"halonet", "halonet26t", 12.48},
        {"halonet", "halonet50ts", 22.73},
        {"halonet", "sehalonet33ts", 13.69},
        {"halonet", "eca_halonext26ts", 10.76},
        {"halonet", "haloregnetz_b", 11.68},
        {"halonet", "halonet_h0", 5.50},
        {"halonet", "halonet_h1", 8.10},  // as timm counts it
        {"halonet", "halonet_h2", 9.41},
        {"halonet", "halonet_h3", 11.84},
        {"halonet", "halonet_h4", 19.10},
        {"halonet", "halonet_h5", 30.72},
        {"halonet", "halonet_h6", 43.46},
        {"halonet", "halonet_h7", 67.43},
        {"scalablevit", "scalablevit_s", 32.00},
        {"scalablevit", "scalablevit_b", 81.88},
        {"scalablevit", "scalablevit_l", 109.29}};
    for (const auto& [architecture, name, millions] : published) {
        const auto count =
            static_cast<double>(Backbone::countParameters(architecture, {{"variant", name}}));
        // Published with one or two digits; of Vision Longformer some counted shared copies once.
        const double slack = std::string(architecture) == "vil" ? 0.06 : 0.006;
        EXPECT_NEAR(count / 1e6, millions, slack) << name;
    }
    for (const std::string architecture : {"vil", "halonet", "scalablevit"})
        for (const auto& name : Backbone::variants(architecture))
            EXPECT_GT(Backbone::countParameters(architecture, {{"variant", name}}), 1000000)
                << name;
}

TEST(Backbones, RefuseByNameWhatTheyCannotTake) {
    EXPECT_THROW(Backbone::make("swin", {}, {}), ModelError);
    EXPECT_THROW(Backbone::make("vil", {{"variant", "vil_giant"}}, {}), ModelError);
    EXPECT_THROW(Backbone::make("vil", {{"arch", "l1,h3,d97"}}, {}), ModelError);
    EXPECT_THROW(Backbone::make("vil", {{"arch", "l1,hx"}}, {}), ModelError);
    EXPECT_THROW(Backbone::make("halonet", {{"stem_type", "tiered"}}, {}), ModelError);
    const json config{{"variant", "halonet26t"}, {"num_classes", 3}};
    const auto network = Backbone::make("halonet", config, randomBackbone("halonet", config));
    EXPECT_EQ(network->sizeMultiple(), 256);
    try {
        network->forward(at::zeros({1, 3, 256, 200}));
        FAIL() << "200 px were taken";
    } catch (const ModelError& error) {
        EXPECT_NE(std::string(error.what()).find("multiples of 256"), std::string::npos);
    }
    EXPECT_EQ(HaloNetConfig::variant("haloregnetz_b").stages.size(), 4u);
}

TEST(Backbones, StickyFullAttention) {
    const auto stages = VilConfig::parseArch("l1,s1,d96_l2,s0,d96_l3,s1,d96");
    EXPECT_TRUE(stages[0].sliding);
    EXPECT_FALSE(stages[1].sliding);
    EXPECT_FALSE(stages[2].sliding);
}

/// Other resolutions than the weights': positions are interpolated. Maps lie on the stages' grids.
TEST(Backbones, GiveAttentionMapsAtAnySizeTheyTake) {
    const at::NoGradGuard noGradient;
    const json small{{"arch",
                      "l1,h2,d16,n1,s1,g1,p4,f5,a1_l2,h2,d32,n1,s1,g1,p2,f5,a0_l3,h2,d32,n1,"
                      "s0,g0,p2,a0"},
                     {"image_size", 64},
                     {"num_classes", 4}};
    const auto network = Backbone::make("vil", small, randomBackbone("vil", small));
    for (const auto& [height, width] : {std::pair{64, 64}, {96, 160}, {70, 50}}) {
        BackboneTrace trace;
        trace.attention = true;
        const at::Tensor logits = network->forward(at::randn({2, 3, height, width}), &trace);
        EXPECT_TRUE(logits.isfinite().all().item<bool>());
        const auto maps = network->maps();
        ASSERT_EQ(maps.size(), 5u);  // local and global tokens of two stages, all of the third
        ASSERT_EQ(trace.maps.size(), maps.size());
        for (size_t m = 0; m < maps.size(); ++m) {
            EXPECT_EQ(trace.maps[m].size(1), height / maps[m].sidePx) << m;
            EXPECT_EQ(trace.maps[m].size(2), width / maps[m].sidePx) << m;
            EXPECT_NEAR(trace.maps[m].mean().item<double>(), 1, 1e-4);
        }
        ASSERT_EQ(trace.mass.size(), network->massNames().size());
        EXPECT_EQ(trace.mass[0].sizes(), trace.maps[0].sizes());
        EXPECT_LE((trace.mass[0] + trace.mass[1] - 1).abs().max().item<double>(), 1e-6);
    }
}

/// A bias over all places is looked up for some queries at a time; the plain way forms it whole.
TEST(Backbones, RelativeBiasInPiecesIsTheWholeOne) {
    const at::NoGradGuard noGradient;
    at::manual_seed(4);
    const json config{{"arch", "l1,h2,d16,n1,s1,g1,p2,f5,a0_l2,h4,d32,n1,s0,g2,p1,a0"},
                      {"image_size", 64},
                      {"num_classes", 4}};
    const auto network = Backbone::make("vil", config, randomBackbone("vil", config));
    const at::Tensor image = at::randn({2, 3, 96, 80});  // 1922 tokens and 4 heads: several pieces
    const at::Tensor mine = network->forward(image);
    const PlainAttention plain;
    EXPECT_LE((network->forward(image) - mine).abs().max().item<double>(), 1e-5);
}

TEST(FastConv, IsTheConvolutionWithItsActivation) {
    const at::NoGradGuard noGradient;
    at::manual_seed(6);
    for (const int64_t kernel : {1, 3})
        for (const auto& [height, width] : {std::pair<int64_t, int64_t>{8, 8}, {13, 5}, {1, 30}})
            for (const auto activation : {Activation::None, Activation::Relu, Activation::Silu}) {
                SCOPED_TRACE(std::to_string(kernel) + ", " + std::to_string(height) + " x " +
                             std::to_string(width));
                const at::Tensor weight = at::randn({48, 32, kernel, kernel}) * 0.2,
                                 bias = at::randn({48}), x = at::randn({2, 32, height, width});
                const auto conv = FastConv::make(weight, bias, 1, 1);
                ASSERT_TRUE(conv);
                const at::Tensor expected =
                    activate(at::conv2d(x.to(at::kDouble), weight.to(at::kDouble),
                                        bias.to(at::kDouble), 1, kernel / 2),
                             activation);
                const at::Tensor mine = (*conv)(x, activation);
                ASSERT_EQ(mine.sizes(), expected.sizes());
                EXPECT_LE((mine - expected).abs().max().item<double>(),
                          1e-4 * expected.abs().max().item<double>());
            }
    const at::Tensor weight = at::randn({32, 32, 3, 3});
    EXPECT_FALSE(FastConv::make(weight, {}, 2, 1));
    EXPECT_FALSE(FastConv::make(weight, {}, 1, 4));
    EXPECT_FALSE(FastConv::make(weight.slice(0, 0, 20), {}, 1, 1));
    EXPECT_FALSE(FastConv::make(at::randn({32, 32, 5, 5}), {}, 1, 1));
}

// One image of a batch does not know of the others.
TEST(Backbones, ABatchIsItsImages) {
    const at::NoGradGuard noGradient;
    const json configs[] = {
        {{"architecture", "vil"},
         {"arch", "l1,h2,d16,n1,s1,g2,p4,f5,a0_l2,h2,d32,n1,s0,g1,p2,a1"},
         {"image_size", 48},
         {"num_classes", 4}},
        {{"architecture", "halonet"}, {"variant", "halonet_h0"}, {"num_classes", 4}}};
    for (const auto& config : configs) {
        const auto architecture = config.at("architecture").get<std::string>();
        const auto network =
            Backbone::make(architecture, config, randomBackbone(architecture, config));
        const int64_t side = architecture == "vil" ? 48 : 256;
        const at::Tensor images = at::randn({3, 3, side, side});
        const at::Tensor all = network->forward(images);
        for (int64_t i = 0; i < 3; ++i) {
            const at::Tensor one = network->forward(images.slice(0, i, i + 1));
            EXPECT_LE((one[0] - all[i]).abs().max().item<double>(), 1e-4) << architecture;
        }
        const PlainAttention plain;  // the benchmarks' other side is the same network
        EXPECT_LE((network->forward(images) - all).abs().max().item<double>(), 1e-4);
    }
}

}  // namespace
}  // namespace atlas::engine
