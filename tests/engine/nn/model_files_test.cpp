// SPDX-License-Identifier: Apache-2.0
// Weights and model folders: what is written is read back, and what does not fit is named.
#include <ATen/ops/allclose.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/atlas.h"
#include "engine/nn/classifier.h"
#include "engine/nn/context_batch.h"
#include "engine/nn/device.h"
#include "engine/nn/device_graph.h"
#include "engine/nn/model_config.h"
#include "engine/nn/model_error.h"
#include "engine/nn/safetensors.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

AtlasConfig smallNetwork() {
    AtlasConfig config;
    config.stemFirstWidth = config.stemWidth = 4;
    config.dim = 16;
    config.numClasses = 3;
    config.windowSide = 4;
    config.poolRatio = 2;
    config.mapping = WindowMapping::Nested;
    config.stages = {{1, 2, 2, true, 2}, {1, 2, 2, true, 1}};
    return config;
}

ModelConfig smallModel() {
    ModelConfig model;
    model.name = "small";
    model.classNames = {"a", "b", "c"};
    model.classColors = defaultClassColors(3);
    model.patchSizePx = 128;
    model.spacingUmPx = 0.5;
    model.mean = {0.5f, 0.5f, 0.5f};
    model.std = {0.2f, 0.2f, 0.2f};
    model.network = smallNetwork();
    return model;
}

void writeModel(const fs::path& dir) {
    saveModelConfig(dir, smallModel());
    saveSafetensors(dir / "model.safetensors", initialAtlasWeights(smallNetwork(), 1));
}

std::string errorOf(const std::function<void()>& action) {
    try {
        action();
    } catch (const ModelError& error) {
        return error.what();
    }
    return "no error";
}

TEST(Safetensors, ReadsBackWhatItWrote) {
    const test::TemporaryFolder folder;
    const StateDict weights = initialAtlasWeights(smallNetwork(), 7);
    saveSafetensors(folder.path() / "w.safetensors", weights, {{"note", "x"}});
    const StateDict back = loadSafetensors(folder.path() / "w.safetensors");
    ASSERT_EQ(back.size(), weights.size());
    for (const auto& [name, tensor] : weights) EXPECT_TRUE(back.at(name).equal(tensor)) << name;
}

TEST(Safetensors, RefusesHostileFiles) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "bad.safetensors";
    const auto refused = [&](const std::string& bytes) {
        std::ofstream(path, std::ios::binary) << bytes;
        return errorOf([&] { loadSafetensors(path); });
    };
    const auto withHeader = [](const std::string& header) {
        std::string bytes(8, '\0');
        bytes[0] = static_cast<char>(header.size());
        return bytes + header + "1234";
    };
    EXPECT_NE(refused("abc").find("no safetensors file"), std::string::npos);
    EXPECT_NE(refused(std::string(8, '\xff') + "x").find("no safetensors file"), std::string::npos);
    EXPECT_NE(refused(withHeader("[]")).find("not a JSON object"), std::string::npos);
    EXPECT_NE(
        refused(
            withHeader(
                R"({"t":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,4]}})"))
            .find("tensor t"),
        std::string::npos);
    EXPECT_NE(refused(withHeader(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}})"))
                  .find("outside"),
              std::string::npos);
    EXPECT_NE(refused(withHeader(R"({"t":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}})"))
                  .find("unknown type"),
              std::string::npos);
    EXPECT_NE(errorOf([&] { loadSafetensors(folder.path() / "none"); }).find("cannot be opened"),
              std::string::npos);
}

TEST(Atlas, NamesMissingExtraAndMisshapenWeights) {
    StateDict weights = initialAtlasWeights(smallNetwork(), 1);
    weights.erase("fc.bias");
    weights["surprise"] = at::zeros({1});
    weights["fc_norm.weight"] = at::zeros({3});
    const std::string text = errorOf([&] { Atlas(smallNetwork(), weights); });
    EXPECT_NE(text.find("missing (1):\n    fc.bias [3]"), std::string::npos) << text;
    EXPECT_NE(text.find("fc_norm.weight is [3], not [16]"), std::string::npos) << text;
    EXPECT_NE(text.find("unexpected (1):\n    surprise"), std::string::npos) << text;
}

TEST(Atlas, MaskedBatchEqualsImagesAlone) {
    const at::NoGradGuard noGradient;
    Atlas network(smallNetwork(), initialAtlasWeights(smallNetwork(), 3));
    const at::Tensor images = at::rand({2, 3, 100, 140});
    at::Tensor mask = at::ones({2, 7, 9}, at::kByte);
    mask[1].slice(0, 3).fill_(0);
    const at::Tensor both = network.forward(images, mask, {}, nullptr);
    for (int64_t i = 0; i < 2; ++i) {
        const at::Tensor alone =
            network.forward(images.slice(0, i, i + 1), mask.slice(0, i, i + 1), {}, nullptr);
        EXPECT_LT((both[i] - alone[0]).abs().max().item<float>(), 1e-5f);  // float32 rounding
    }
    EXPECT_THROW(network.forward(images, at::zeros({2, 7, 9}, at::kByte), {}, nullptr), ModelError);
}

TEST(ModelConfig, RoundTripsThroughItsFile) {
    const test::TemporaryFolder folder;
    saveModelConfig(folder.path(), smallModel());
    const ModelConfig back = loadModelConfig(folder.path());
    EXPECT_EQ(back.network, smallNetwork());
    EXPECT_EQ(back.classNames, smallModel().classNames);
    EXPECT_EQ(back.tokenSidesPx(), (std::vector<int64_t>{16, 32}));
}

TEST(ModelConfig, SaysWhichKeyIsWrong) {
    const test::TemporaryFolder folder;
    writeModel(folder.path());
    const auto broken = [&](const std::function<void(nlohmann::json&)>& change) {
        saveModelConfig(folder.path(), smallModel());
        nlohmann::json text;
        std::ifstream(folder.path() / "config.json") >> text;
        change(text);
        std::ofstream(folder.path() / "config.json") << text.dump();
        return errorOf([&] { loadModelConfig(folder.path()); });
    };
    EXPECT_NE(broken([](auto& j) { j.erase("atlas"); }).find("no network of ours"),
              std::string::npos);
    EXPECT_NE(broken([](auto& j) {
                  j["class_names"] = {"a", "a", "b"};
              }).find("class_names"),
              std::string::npos);
    EXPECT_NE(broken([](auto& j) { j["atlas"]["network"]["num_classes"] = 9; }).find("num_classes"),
              std::string::npos);
    EXPECT_NE(broken([](auto& j) { j["atlas"]["network"]["dim"] = -4; }).find("\"dim\""),
              std::string::npos);
    EXPECT_NE(broken([](auto& j) {
                  j["atlas"]["network"]["stages"][0]["num_heads"] = 5;
              }).find("num_heads"),
              std::string::npos);
    EXPECT_NE(errorOf([&] { loadModelConfig(folder.path() / "none"); }).find("config.json"),
              std::string::npos);
}

TEST(Classifier, SumsToOneAndProbesTheContext) {
    const test::TemporaryFolder folder;
    writeModel(folder.path());
    const auto classifier = Classifier::open(folder.path(), {.device = "cpu", .cache = {}});
    ContextPixels context{std::vector<uint8_t>(128 * 128 * 4)};
    for (size_t i = 0; i < context.rgba.size(); ++i)
        context.rgba[i] = static_cast<uint8_t>(i % 4 == 3 ? 255 : i * 37 % 251);
    const ContextPixels empty{std::vector<uint8_t>(128 * 128 * 4)};
    const auto results = classifier->classify({context, empty}, true);
    ASSERT_EQ(results[0].probabilities.size(), 3u);
    EXPECT_TRUE(results[1].probabilities.empty());
    float sum = 0, mass = 0;
    for (float p : results[0].probabilities) sum += p;
    for (float m : results[0].meanMass) mass += m;
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_NEAR(mass, 1, 1e-5);
    EXPECT_EQ(results[0].received[0].side, 8);
    EXPECT_EQ(results[0].received[1].side, 4);
    float seen = 0;
    AnalysisRequest request;
    request.probe = ProbePoint{0, 3, 5};
    request.contributions = true;
    const ContextAnalysis analysis = classifier->analyse(context, request);
    for (const auto& map : analysis.probe)
        for (float v : map.values) seen += v;
    EXPECT_NEAR(seen, 1, 1e-5);
    for (size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(analysis.probabilities[c], results[0].probabilities[c], 1e-5);
        float logit = analysis.baseline[c];
        for (const auto& grid : analysis.contributions)
            for (int64_t i = 0; i < grid.rows * grid.columns; ++i)
                logit += grid.values[c * static_cast<size_t>(grid.rows * grid.columns) +
                                     static_cast<size_t>(i)];
        EXPECT_NEAR(logit, analysis.logits[c], 1e-4 * std::max(1.0f, std::abs(logit)));
    }
    EXPECT_TRUE(classifier->analyse(empty, request).probabilities.empty());
    request.tokenMask = {1, 2, 3};
    EXPECT_NE(errorOf([&] { classifier->analyse(context, request); }).find("mask"),
              std::string::npos);
}

/// A processor without tiles loses by bfloat16; `auto` is never told so, for it takes the faster.
TEST(Classifier, WhoAsksForBfloat16IsWarnedWhereItIsSlower) {
    const test::TemporaryFolder folder;
    writeModel(folder.path());
    const auto open = [&](const char* precision) {
        return Classifier::open(folder.path(),
                                {.device = "cpu", .precision = precision, .cache = {}});
    };
    const auto rounded = open("bf16");
    EXPECT_EQ(rounded->precision(), "bf16");
    EXPECT_EQ(rounded->warnings().empty(), cpuKernels().productBf16 != nullptr);
    EXPECT_TRUE(open("fp32")->warnings().empty());
    EXPECT_TRUE(open("auto")->warnings().empty());
    EXPECT_EQ(open("fp32")->precision(), "fp32");
}

/// 16-bit networks take the way of a GPU: bytes to the device, normalised there, halves of a batch
/// by turns. Contexts with and without holes.
TEST(Classifier, InBfloat16AgreesWithFloat32) {
    const test::TemporaryFolder folder;
    writeModel(folder.path());
    const auto open = [&](const char* precision) {
        return Classifier::open(folder.path(),
                                {.device = "cpu", .precision = precision, .cache = {}});
    };
    const auto exact = open("fp32"), rounded = open("bf16");
    EXPECT_NE(rounded->deviceReason().find("bfloat16"), std::string::npos);
    std::vector<ContextPixels> contexts;
    for (size_t n = 0; n < 11; ++n) {
        ContextPixels context{std::vector<uint8_t>(128 * 128 * 4)};
        for (size_t i = 0; i < context.rgba.size(); ++i)
            context.rgba[i] = static_cast<uint8_t>(
                i % 4 == 3 ? (n % 3 == 1 && i < 4 * 128 * 40 ? 0 : 255) : (i * 37 + 90 * n) % 251);
        contexts.push_back(context);
    }
    const auto a = exact->classify(contexts, true), b = rounded->classify(contexts, true);
    ASSERT_EQ(a.size(), b.size());
    for (size_t n = 0; n < a.size(); ++n) {
        for (size_t c = 0; c < 3; ++c)
            EXPECT_NEAR(a[n].probabilities[c], b[n].probabilities[c], 0.02) << n;
        for (size_t s = 0; s < a[n].meanMass.size(); ++s)
            EXPECT_NEAR(a[n].meanMass[s], b[n].meanMass[s], 0.02) << n;
    }
}

TEST(ContextBatch, IsTheSameByBothWays) {
    const std::vector<float> mean{0.4f, 0.5f, 0.6f}, deviation{0.2f, 0.3f, 0.1f};
    const ContextBatch batch(16, mean, deviation, at::Device(at::kCPU));
    std::vector<ContextPixels> contexts(3, {std::vector<uint8_t>(16 * 16 * 4)});
    for (size_t i = 0; i < contexts[2].rgba.size(); ++i)
        contexts[2].rgba[i] = static_cast<uint8_t>(i % 4 == 3 ? i % 3 : i * 7);
    const at::Tensor expected = batch.images(contexts, {2, 0});
    EXPECT_TRUE(at::allclose(batch.imagesOnDevice(contexts, {2, 0}), expected, 0, 1e-5));
    EXPECT_EQ(expected[1].abs().max().item<float>(), 0);  // without data: the mean colour
    EXPECT_EQ(batch.masks(contexts, {2, 0}).sum().item<int64_t>(), 1);
    EXPECT_NE(errorOf([&] {
                  batch.images({ContextPixels{{1, 2, 3}}}, {0});
              }).find("wrong size"),
              std::string::npos);
}

TEST(DeviceGraph, RunsPlainlyOnTheProcessor) {
    int runs = 0;
    DeviceGraph graph([&](const at::Tensor& x) {
        ++runs;
        return Trace{{"twice", x * 2}};
    });
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(graph.run(at::full({2}, i)).at("twice").sum().item<int>(), 4 * i);
    EXPECT_EQ(runs, 5);
    EXPECT_TRUE(graph.refusal().empty());
}

TEST(ChooseDevice, SaysWhyThereIsNoGpu) {
    EXPECT_EQ(chooseDevice("cpu").device, at::Device(at::kCPU));
    EXPECT_FALSE(chooseDevice("cpu:libtorch").ownKernels);
    EXPECT_NE(errorOf([] { chooseDevice("tpu"); }).find("unknown"), std::string::npos);
    const auto automatic = chooseDevice("auto");
    if (automatic.device.is_cuda()) GTEST_SKIP() << "SKIPPED: this machine has a GPU";
    EXPECT_NE(automatic.reason.find("CPU ("), std::string::npos);
    EXPECT_NE(errorOf([] { chooseDevice("cuda"); }).find("cannot be used"), std::string::npos);
}

}  // namespace
}  // namespace atlas::engine
