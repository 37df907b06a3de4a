// SPDX-License-Identifier: Apache-2.0
// ONNX files: what they say of themselves, hostile ones, and class maps put together.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "engine/nn/model_error.h"
#include "engine/nn/onnx_file.h"
#include "engine/pipeline/journal.h"
#include "engine/pipeline/stitcher.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

std::string field(int number, const std::string& bytes) {
    std::string text(1, static_cast<char>(number << 3 | 2));
    for (size_t n = bytes.size();; n >>= 7) {
        text += static_cast<char>(n < 128 ? n : (n & 127) | 128);
        if (n < 128) break;
    }
    return text + bytes;
}

/// ir_version, a graph of some bytes, and metadata: a model as far as these tests look.
std::string modelText(const std::map<std::string, std::string>& metadata) {
    std::string text = "\x08\x08" + field(7, std::string(3000, 'g'));
    for (const auto& [key, value] : metadata) text += field(14, field(1, key) + field(2, value));
    return text;
}

const std::map<std::string, std::string> kGood{{"model_type", "\"Segmentor\""},
                                               {"class_names", R"({"0":"ground","1":"roof"})"},
                                               {"resolution", "50"},
                                               {"tiles_size", "512"},
                                               {"standardization_mean", "[0.1,0.2,0.3]"}};

TEST(OnnxFile, SaysWhatDeepnessWroteIntoIt) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "roofs.onnx";
    std::ofstream(path, std::ios::binary) << modelText(kGood);
    const auto config = loadModelConfig(path);
    EXPECT_EQ(config.architecture, kOnnx);
    EXPECT_EQ(config.name, "roofs");
    EXPECT_EQ(config.classNames, (std::vector<std::string>{"ground", "roof"}));
    EXPECT_EQ(config.patchSizePx, 512);
    EXPECT_EQ(config.segmentSide, 512);
    EXPECT_DOUBLE_EQ(config.spacingUmPx, 500000);
    EXPECT_EQ(config.mean, (std::vector<float>{0.1f, 0.2f, 0.3f}));
    EXPECT_EQ(config.std, (std::vector<float>{1, 1, 1}));
    EXPECT_TRUE(isModel(folder.path())) << "a folder with one .onnx file";
    EXPECT_EQ(findOnnx(folder.path()), path);
    std::ofstream(folder.path() / "other.onnx") << "x";
    EXPECT_FALSE(isModel(folder.path())) << "which of the two is not said";
    std::filesystem::remove(folder.path() / "other.onnx");
    std::ofstream(folder.path() / "LICENSE") << "Apache-2.0";
    EXPECT_TRUE(isModel(folder.path()));
    std::ofstream(folder.path() / "scene.tif") << "II";
    EXPECT_FALSE(isModel(folder.path())) << "a folder of images with a model among them";
}

TEST(OnnxFile, HostileFilesAreNamedAndNothingElseHappens) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "hostile.onnx";
    const std::string good = modelText(kGood);
    const auto refused = [&](const std::string& bytes) -> std::string {
        std::ofstream(path, std::ios::binary) << bytes;
        try {
            configOfOnnx(path);
        } catch (const ModelError& error) {
            EXPECT_NE(std::string(error.what()).find("hostile.onnx"), std::string::npos);
            return error.what();
        }
        return {};
    };
    EXPECT_EQ(refused(good), "");
    for (size_t cut = 0; cut + 60 < good.size(); cut += cut < 3000 ? 97 : 1)
        EXPECT_NE(refused(good.substr(0, cut)), "") << cut;
    EXPECT_NE(refused("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f").find("damaged"),
              std::string::npos);
    EXPECT_NE(refused(std::string(40, '\xff')), "");
    const auto with = [&](const char* key, const char* value) {
        auto changed = kGood;
        changed[key] = value;
        return refused(modelText(changed));
    };
    EXPECT_NE(with("model_type", "\"Detector\"").find("Detector"), std::string::npos);
    EXPECT_NE(with("class_names", R"({"1":"a","2":"b"})").find("class_names"), std::string::npos);
    EXPECT_NE(with("class_names", R"({"x":"a"})"), "");
    EXPECT_NE(with("class_names", R"({"0":3})"), "");
    EXPECT_NE(with("tiles_size", "99999999").find("tile_size"), std::string::npos);
    EXPECT_NE(with("resolution", "-1").find("resolution"), std::string::npos);
    EXPECT_NE(with("standardization_std", "[0,1,1]").find("standardization_std"),
              std::string::npos);
    EXPECT_EQ(with("standardization_std", "0.5"), "") << "one number stands for all bands";
}

TEST(Stitcher, ClassMapsAreAveragedToTheCellsOfThePlan) {
    RunPlan plan;
    plan.region = {0, 0, 16, 8};
    plan.contextPx = 8;
    plan.contextWidth = plan.contextHeight = plan.strideX = plan.strideY = 8;
    plan.cellsPerContext = 4;
    ModelConfig model;
    model.architecture = kOnnx;
    model.classNames = {"a", "b"};
    model.patchSizePx = model.segmentSide = 8;
    Stitcher stitcher(plan, model, true);
    ContextResult result;
    result.probabilities = {0.5f, 0.5f};
    result.segments.assign(2, {8, std::vector<float>(64)});
    for (size_t p = 0; p < 64; ++p) {
        const bool data = p % 8 != 7;  // the last column has none
        result.segments[0].values[p] = data ? (p < 32 ? 0.9f : 0.2f) : 0.0f;
        result.segments[1].values[p] = data ? (p < 32 ? 0.1f : 0.8f) : 0.0f;
    }
    // Through the journal, as a run that was cancelled and goes on.
    const test::TemporaryFolder folder;
    { Journal(folder.path(), "first", {}).append(1, result); }
    int replayed = 0;
    Journal again(folder.path(), "second", [&](int64_t index, const ContextResult& back) {
        EXPECT_EQ(index, 1);
        EXPECT_EQ(back.segments.size(), 2u);
        stitcher.add({1, 0, 8, 0}, back);
        ++replayed;
    });
    ASSERT_EQ(replayed, 1);
    const RunLayers layers = *stitcher.snapshot();
    ASSERT_EQ(layers.classes.width, 8);
    ASSERT_EQ(layers.classes.height, 4);
    EXPECT_TRUE(std::isnan(layers.classes.at(0, 0, 0))) << "the first context is not there yet";
    for (int x = 4; x < 8; ++x) {
        EXPECT_EQ(layers.classes.at(0, x, 0), 0);
        EXPECT_EQ(layers.classes.at(0, x, 3), 1);
        EXPECT_NEAR(layers.probabilities.at(1, x, 3), 0.8, 1e-5) << "also beside places without";
    }
}

}  // namespace
}  // namespace atlas::engine
