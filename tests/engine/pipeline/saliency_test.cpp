// SPDX-License-Identifier: Apache-2.0
// Maps for networks without attention: against the same computed by hand, and against networks
// of which it is known where they look.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <cmath>
#include <fstream>

#include "engine/nn/model_error.h"
#include "engine/nn/saliency.h"
#include "engine/pipeline/explain.h"
#include "io/reader_registry.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 64;
const std::string kScene = "synthetic:size=512,seed=21";

/// Two classes of 64 px at half a metre; pixels as they are, over 255.
void writeExported(const fs::path& dir, const torch::jit::Module& module) {
    fs::create_directories(dir);
    module.save((dir / "torchscript_model.pt").string());
    std::ofstream(dir / "config.json")
        << R"({"spec_version":"1.0","architecture":"none","num_classes":2,
               "class_names":["a","b"],"patch_size_pixels":64,"spacing_um_px":500000,
               "transform":[{"name":"ToTensor"}]})";
}

class SaliencyTest : public testing::Test {
  protected:
    SaliencyResult ask(Saliency kind, const char* program, int label = -1) {
        torch::jit::Module module("Net");
        module.register_parameter("w", weights_, false);
        module.register_parameter("v", readout_, false);
        module.define(program);
        writeExported(folder_.path() / "net", module);
        network_ = Classifier::open(folder_.path() / "net",
                                    {.device = "cpu", .cache = {}, .refuseCode = test::trustAll});
        const auto source = io::openImage(kScene, {});
        const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                    std::make_shared<io::TileCache>(size_t{64} << 20));
        RunRequest request = test::sceneRequest({}, kScene);
        request.modelDir = folder_.path() / "net";
        return saliencyAt(image, *network_, request, kind, label, 300, 200);
    }
    static at::Tensor imageOf(const ContextView& view) {
        return at::from_blob(const_cast<uint8_t*>(view.pixels.rgba.data()), {kSide, kSide, 4},
                             at::kByte)
            .slice(2, 0, 3)
            .permute({2, 0, 1})
            .unsqueeze(0)
            .to(at::kFloat)
            .div(255);
    }

    test::TemporaryFolder folder_;
    at::Tensor weights_ = (at::manual_seed(5), at::randn({6, 3, 4, 4})),
               readout_ =
                   at::tensor({1.f, -1.f, -1.f, 1.f, 1.f, -1.f, -1.f, 1.f, 1.f, -1.f, -1.f, 1.f})
                       .view({6, 2});
    std::unique_ptr<Classifier> network_;
};

constexpr const char* kConvolutions =
    "def forward(self, x):\n"
    "    f = torch.relu(torch.conv2d(x, self.w, stride=[4, 4]))\n"
    "    return torch.matmul(f.mean([2, 3]), self.v)\n";
constexpr const char* kLeftHalf =
    "def forward(self, x):\n"
    "    d = (x[:, :, :, :31] - x[:, :, :, 1:32]).abs()\n"
    "    s = d.mean([1, 2, 3]).unsqueeze(1) * 9 + self.v.sum() * 0\n"
    "    return torch.cat([s, -s + self.w.sum() * 0], 1)\n";

TEST_F(SaliencyTest, GradCamIsTheFeatureMapWeightedByItsGradient) {
    bool any = false;
    for (int label : {0, 1}) {
        const auto result = ask(Saliency::GradCam, kConvolutions, label);
        EXPECT_EQ(result.method, "Grad-CAM");
        EXPECT_EQ(result.label, label);
        ASSERT_EQ(result.map.width, 16);
        const at::Tensor f = at::relu(at::conv2d(imageOf(result.context), weights_, {}, 4));
        // The mean over places has the same gradient everywhere: v / 256.
        const at::Tensor wanted =
            (f * readout_.select(1, label).view({1, 6, 1, 1}) / 256).sum(1).relu()[0].contiguous();
        const double peak = wanted.max().item<double>();
        any |= peak > 0;
        for (int y = 0; y < 16; ++y)
            for (int x = 0; x < 16; ++x)
                EXPECT_NEAR(result.map.at(0, x, y), wanted[y][x].item<float>(),
                            1e-5 * std::max(peak, 1e-3));
        EXPECT_DOUBLE_EQ(result.map.x, result.context.x);
        EXPECT_NEAR(result.map.cellWidth * 16, result.context.width, 1e-9);
    }
    EXPECT_TRUE(any) << "what is below 0 is left out: one class at least has a map";
}

TEST_F(SaliencyTest, InputGradientsEqualSmallChangesOfThePixels) {
    const auto result = ask(Saliency::InputGradient, kConvolutions, 1);
    ASSERT_EQ(result.map.width, kSide);
    const at::Tensor image = imageOf(result.context).to(at::kDouble);
    const auto score = [&](const at::Tensor& x) {
        const at::Tensor f = at::relu(at::conv2d(x, weights_.to(at::kDouble), {}, 4));
        return at::matmul(f.mean({2, 3}), readout_.to(at::kDouble))[0][1].item<double>();
    };
    for (const auto& [x, y] : {std::pair{3, 5}, {40, 21}, {63, 63}, {17, 50}}) {
        double strength = 0;
        for (int c = 0; c < 3; ++c) {
            const double step = 1e-5;
            at::Tensor more = image.clone(), less = image.clone();
            more[0][c][y][x] += step;
            less[0][c][y][x] -= step;
            strength += std::abs(score(more) - score(less)) / (2 * step);
        }
        EXPECT_NEAR(result.map.at(0, x, y), strength, 1e-4 * std::max(1e-3, strength));
    }
}

TEST_F(SaliencyTest, MapsLieWhereTheNetworkLooks) {
    for (const Saliency kind : {Saliency::InputGradient, Saliency::Occlusion}) {
        const auto result = ask(kind, kLeftHalf);
        double left = 0, right = 0;
        for (int y = 0; y < result.map.height; ++y)
            for (int x = 0; x < result.map.width; ++x)
                (x < result.map.width / 2 ? left : right) += std::abs(result.map.at(0, x, y));
        EXPECT_GT(left, 1e-4) << result.method;
        EXPECT_NEAR(right, 0, 1e-6) << result.method;
    }
    EXPECT_THROW(ask(Saliency::GradCam, kLeftHalf), ModelError) << "it has no feature map";
    EXPECT_THROW(ask(Saliency::Occlusion, kLeftHalf, 7), std::runtime_error);
}

TEST_F(SaliencyTest, OcclusionIsForAtlasToo) {
    const std::string scene = "synthetic:size=2048,seed=21";
    const auto network = Classifier::open(test::kModels / "scenes", {.device = "cpu", .cache = {}});
    const auto source = io::openImage(scene, {});
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    const auto request = test::sceneRequest({}, scene);
    const auto result = saliencyAt(image, *network, request, Saliency::Occlusion, -1, 500, 500);
    // The square in the middle of the first row, by what if.
    const double cell = result.map.cellWidth;
    WhatIf change;
    change.region = {static_cast<int64_t>(result.context.x + 4 * cell),
                     static_cast<int64_t>(result.context.y), static_cast<int64_t>(cell),
                     static_cast<int64_t>(cell)};
    const auto direct = whatIf(image, *network, request, change, 500, 500);
    const auto label = static_cast<size_t>(result.label);
    EXPECT_NEAR(result.map.at(0, 4, 0), direct.before[label] - direct.after[label], 1e-5);
    EXPECT_THROW(saliencyAt(image, *network, request, Saliency::InputGradient, -1, 500, 500),
                 std::runtime_error);
}

TEST(GradCam, TakesChannelsFirstAndLast) {
    const at::Tensor f = at::randn({1, 5, 7, 7}), g = at::randn({1, 5, 7, 7});
    const auto first = gradCam(f, g),
               last = gradCam(f.permute({0, 2, 3, 1}), g.permute({0, 2, 3, 1}));
    ASSERT_EQ(first.side, 7);
    for (size_t i = 0; i < first.values.size(); ++i)
        EXPECT_NEAR(first.values[i], last.values[i], 1e-6);
    EXPECT_FALSE(hasPlaces(at::zeros({1, 64, 1, 1})));
    EXPECT_FALSE(hasPlaces(at::zeros({1, 50, 64})));
}

}  // namespace
}  // namespace atlas::engine
