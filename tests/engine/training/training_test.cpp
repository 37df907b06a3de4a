// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>

#include "engine/nn/backbones/backbone.h"
#include "engine/nn/machine.h"
#include "engine/nn/model_error.h"
#include "engine/nn/safetensors.h"
#include "engine/training/evaluate_network.h"
#include "engine/training/largest_batch.h"
#include "engine/training/trainer.h"
#include "engine/training/training_pictures.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

/// Two classes that differ in colour, so many images each.
void writeImages(const fs::path& root, int count = 8) {
    for (int label = 0; label < 2; ++label) {
        const fs::path dir = root / (label ? "red" : "blue");
        fs::create_directories(dir);
        for (int i = 0; i < count; ++i) {
            cv::Mat image(70, 64, CV_8UC3);
            cv::randu(image, 0, 120);
            cv::Mat channel(70, 64, CV_8U, cv::Scalar(200 + i % 8));
            cv::insertChannel(channel, image, label ? 2 : 0);
            cv::imwrite((dir / (std::to_string(i) + ".png")).string(), image);
        }
    }
}

TrainingPlan tinyPlan(const fs::path& file, int epochs) {
    const nlohmann::json plan = {
        {"model",
         {{"name", "tiny"},
          {"patch_size_pixels", 64},
          {"spacing_um_px", 1.0},
          {"network",
           {{"stem_first_width", 4},
            {"stem_width", 4},
            {"dim", 16},
            {"window_side", 2},
            {"pool_ratio", 2},
            {"stages",
             {{{"depth", 1}, {"num_heads", 2}, {"mlp_ratio", 2}, {"weight_sets", 2}}}}}}}},
        {"training",
         {{"epochs", epochs},
          {"batch", 4},
          {"learning_rate", 0.01},
          {"warmup_epochs", 0.5},
          {"mixup_probability", 0},
          {"drop_path", 0},
          {"precision", "fp32"},
          {"crop_area", {0.8, 1.0}}}}};
    std::ofstream(file) << plan.dump();
    return TrainingPlan::load(file);
}

TEST(Trainer, LearnsRecordsAndResumesExactly) {
    const test::TemporaryFolder folder;
    writeImages(folder.path() / "data");
    const auto data = openDataset((folder.path() / "data").string(), 64);
    EXPECT_EQ(data->classNames(), (std::vector<std::string>{"blue", "red"}));
    const auto plan = tinyPlan(folder.path() / "plan.json", 6);
    ASSERT_TRUE(Trainer(plan, *data, data.get(), folder.path() / "one")
                    .run({}, [](const TrainingProgress&) {}));
    const Evaluation result = evaluateModel(folder.path() / "one", *data);
    EXPECT_EQ(result.count, 16);
    EXPECT_GE(result.right, 14);
    EXPECT_NE(result.device.find("float32"), std::string::npos);
    const Evaluation rounded = evaluateModel(folder.path() / "one", *data, 0,
                                             {.device = "cpu", .precision = "bf16", .cache = {}});
    EXPECT_NE(rounded.device.find("bfloat16"), std::string::npos);
    EXPECT_NEAR(static_cast<double>(rounded.right), static_cast<double>(result.right), 1);
    const auto record =
        nlohmann::json::parse(loadModelConfig(folder.path() / "one").trainingRecord);
    EXPECT_EQ(record["history"].size(), 6u);
    EXPECT_EQ(record["seed"], 1);
    EXPECT_EQ(record["data_fingerprint"], data->fingerprint());

    // Stopped in the third epoch, then gone on: the same weights as without the stop.
    std::stop_source stop;
    EXPECT_FALSE(Trainer(plan, *data, data.get(), folder.path() / "two")
                     .run(stop.get_token(), [&](const TrainingProgress& p) {
                         if (p.epoch == 3) stop.request_stop();
                     }));
    int64_t first = 0;
    ASSERT_TRUE(Trainer(plan, *data, data.get(), folder.path() / "two")
                    .run({}, [&](const TrainingProgress& p) {
                        if (!first) first = p.epoch;
                    }));
    EXPECT_EQ(first, 3);
    const auto bytes = [](const fs::path& p) {
        std::ifstream file(p, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    EXPECT_EQ(bytes(folder.path() / "one/model.safetensors"),
              bytes(folder.path() / "two/model.safetensors"));
}

TEST(TrainingPictures, AreMeasuredWrittenAndTheSameEachTime) {
    const test::TemporaryFolder folder;
    writeImages(folder.path() / "few");
    EXPECT_FALSE(measurePictures(*openDataset((folder.path() / "few").string(), 64), 64));
    writeImages(folder.path() / "data", 20);
    const auto data = openDataset((folder.path() / "data").string(), 64);
    const auto reference = measurePictures(*data, 64);
    ASSERT_TRUE(reference);
    EXPECT_EQ(reference->squarePx(), 64);
    EXPECT_EQ(reference->toJson(), measurePictures(*data, 64)->toJson());
    EXPECT_EQ(reference->toJson()["squares"], 40);
    EXPECT_EQ(reference->toJson()["source"], data->fingerprint());
    EXPECT_NEAR(reference->quantiles(1)[2], 60.0 / 255, 0.03);  // green is even from 0 to 120
    PictureComparison green;
    const std::vector<uint8_t> pixels = [] {
        std::vector<uint8_t> all(64 * 64 * 3, 60);
        for (size_t i = 1; i < all.size(); i += 3) all[i] = 230;
        return all;
    }();
    reference->compare(pictureSquares({pixels.data(), 64, 64, 3}, 64, 1), green);
    EXPECT_TRUE(green.isUnlike());
    EXPECT_NE(reference->differences(green.mean()).find("greener"), std::string::npos);
    ASSERT_TRUE(
        Trainer(tinyPlan(folder.path() / "plan.json", 1), *data, nullptr, folder.path() / "model")
            .run({}, [](const TrainingProgress&) {}));
    const auto written = pictureReference(loadModelConfig(folder.path() / "model"));
    ASSERT_TRUE(written);
    EXPECT_EQ(written->toJson(), reference->toJson());
}

TEST(Evaluate, SisterNetworksAnswerAsTheirClassifierDoes) {
    const test::TemporaryFolder folder;
    writeImages(folder.path() / "data");
    const auto data = openDataset((folder.path() / "data").string(), 64);
    const nlohmann::json network = {
        {"arch", "l1,h2,d16,n1,s1,g1,p4,f7,a1_l2,h2,d32,n1,s0,g1,p2,a0"},
        {"image_size", 64},
        {"num_classes", 2}};
    ModelConfig config;
    config.name = "sister";
    config.classNames = {"red", "blue"};  // not in the order of the data
    config.classColors = defaultClassColors(2);
    config.patchSizePx = 64;
    config.spacingUmPx = 1;
    config.mean = config.std = {0.5f, 0.5f, 0.5f};
    config.setBackbone("vil", network);
    saveModelConfig(folder.path() / "model", config);
    StateDict weights;
    at::manual_seed(5);
    for (const auto& [name, shape] : Backbone::weightsOf("vil", network))
        weights[name] = at::randn(shape) * 0.3;
    saveSafetensors(folder.path() / "model/model.safetensors", weights);
    const Evaluation result = evaluateModel(folder.path() / "model", *data);
    const auto classifier = Classifier::open(folder.path() / "model", {});
    int64_t right = 0;
    for (size_t i = 0; i < data->size(); ++i) {
        const Sample sample = data->sample(i, 0, 64);
        const auto p = classifier->classify({middleOf(sample.image, 64)}, false)[0].probabilities;
        right += config.classNames[p[1] > p[0] ? 1 : 0] ==
                 data->classNames()[static_cast<size_t>(sample.label)];
    }
    EXPECT_EQ(result.count, 16);
    EXPECT_EQ(result.right, right);
    EXPECT_EQ(result.confusion[0][0] + result.confusion[1][1], right);
    EXPECT_EQ(result.confusion[0][0] + result.confusion[0][1], 8);
    EXPECT_GT(result.secondsPerSample, 0);
    EXPECT_THROW(evaluateModel(folder.path() / "model", *data, 128), ModelError);
    // As many at once as memory allows; the answers stay.
    const Evaluation roomy = evaluateModel(folder.path() / "model", *data, 0, {}, {}, 64LL << 30);
    EXPECT_EQ(roomy.right, right);
    EXPECT_EQ(roomy.batch, result.batch);
    EXPECT_THROW(evaluateModel(folder.path() / "model", *data, 0, {}, {}, 1 << 20), ModelError);
}

TEST(LargestBatch, IsFoundWithoutGoingBeyondTheMemory) {
    if (processMemory("VmHWM") == 0) GTEST_SKIP() << "SKIPPED: no /proc here";
    constexpr int64_t image = 48 << 20;
    int64_t most = 0;
    const auto work = [&](int64_t images) {
        most = std::max(most, images);
        const std::vector<char> touched(static_cast<size_t>(images * image), 1);
        ASSERT_EQ(touched.back(), 1);
    };
    forgetPeakMemory();
    const int64_t rest = processMemory("VmRSS");
    const LargestBatch found = largestBatch(rest + 5 * image, 32, work);
    EXPECT_EQ(found.images, 4);
    EXPECT_EQ(found.tooMany, 8);
    EXPECT_EQ(most, 4);  // 8 was foreseen, not tried
    EXPECT_LE(found.bytes, rest + 5 * image);
    EXPECT_GT(found.tooManyBytes, rest + 7 * image);
    const LargestBatch all = largestBatch(rest + 100 * image, 6, work);
    EXPECT_EQ(all.images, 6);
    EXPECT_EQ(all.tooMany, 0);
    const LargestBatch none = largestBatch(rest / 2, 6, work);
    EXPECT_EQ(none.images, 0);
    EXPECT_EQ(none.tooMany, 1);
    EXPECT_EQ(memoryText(812LL << 20), "812 MiB");
    EXPECT_EQ(memoryText(4608LL << 20), "4.5 GiB");
}

TEST(Trainer, RefusesAPlanThatTakesMoreMemoryThanAllowed) {
    const test::TemporaryFolder folder;
    writeImages(folder.path() / "data");
    const auto data = openDataset((folder.path() / "data").string(), 64);
    auto plan = tinyPlan(folder.path() / "plan.json", 1);
    plan.options.memoryBytes = 1 << 20;
    const auto nothing = [](const TrainingProgress&) {};
    try {
        Trainer(plan, *data, nullptr, folder.path() / "none").run({}, nothing);
        FAIL();
    } catch (const ModelError& error) {
        EXPECT_NE(std::string(error.what()).find("batches of 4 contexts of 64 pixels"),
                  std::string::npos)
            << error.what();
    }
    EXPECT_FALSE(fs::exists(folder.path() / "none/model.safetensors"));
    // Where it fits, the trial leaves no trace in what is learnt.
    const auto weights = [&](int64_t memory) {
        plan.options.memoryBytes = memory;
        const fs::path out = folder.path() / std::to_string(memory);
        Trainer(plan, *data, nullptr, out).run({}, nothing);
        std::ifstream file(out / "model.safetensors", std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    EXPECT_EQ(weights(0), weights(64LL << 30));
}

TEST(Trainer, LearnsWithExternalAttention) {
    const test::TemporaryFolder folder;
    writeImages(folder.path() / "data");
    const auto data = openDataset((folder.path() / "data").string(), 64);
    auto plan = tinyPlan(folder.path() / "plan.json", 8);
    plan.model.network.stages[0].blocks = {BlockAttention::External};
    plan.model.network.stages[0].memorySlots = 8;
    ASSERT_TRUE(Trainer(plan, *data, data.get(), folder.path() / "out")
                    .run({}, [](const TrainingProgress&) {}));
    EXPECT_EQ(loadModelConfig(folder.path() / "out").network.stages, plan.model.network.stages);
    EXPECT_GE(evaluateModel(folder.path() / "out", *data).right, 14);
}

TEST(TrainingPlan, NamesFileAndKey) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "plan.json";
    std::ofstream(path) << R"({"model": {"name": "x"}})";
    try {
        TrainingPlan::load(path);
        FAIL() << "nothing was thrown";
    } catch (const ModelError& error) {
        EXPECT_NE(std::string(error.what()).find("plan.json"), std::string::npos);
        EXPECT_NE(std::string(error.what()).find("patch_size_pixels"), std::string::npos);
    }
}

TEST(Dataset, RefusesWhatHoldsNoClasses) {
    const test::TemporaryFolder folder;
    EXPECT_THROW(openDataset(folder.path().string(), 64), io::ReadError);
    EXPECT_THROW(openDataset("/nonexistent.zip", 64), io::ReadError);
    EXPECT_THROW(openDataset("synthetic:9-1,samples=3", 64), io::ReadError);
}

TEST(Dataset, SyntheticContextsAreClearUnlessNatural) {
    const auto clear = openDataset("synthetic:1-50,samples=12", 256),
               natural = openDataset("synthetic:1-50,samples=12,natural", 256);
    for (size_t i = 0; i < 12; ++i) EXPECT_GE(clear->sample(i, 0).share, 0.6);
    EXPECT_EQ(natural->sample(3, 0).image.u8, natural->sample(3, 0).image.u8);
    EXPECT_NE(clear->sample(3, 0).image.u8, clear->sample(3, 1).image.u8);
}

TEST(Wilson, IntervalHoldsTheShare) {
    const auto interval = wilsonInterval(189, 210);
    EXPECT_NEAR(interval[0], 0.852, 0.002);
    EXPECT_NEAR(interval[1], 0.934, 0.002);
    EXPECT_EQ(wilsonInterval(0, 0)[1], 1);
}

TEST(Augment, KeepsSizeAndStaysInside) {
    io::RasterBlock image(50, 40, 3, false);
    for (size_t i = 0; i < image.u8.size(); ++i) image.u8[i] = static_cast<uint8_t>(i % 256);
    std::mt19937_64 random(3);
    for (int i = 0; i < 20; ++i) {
        AugmentOptions options;
        options.erase = 0.5;
        const auto view = augment(image, 32, options, random);
        EXPECT_EQ(view.width, 32);
        EXPECT_EQ(view.u8.size(), 32u * 32 * 3);
    }
    AugmentOptions none{false, false, 1, 1, 1, 1, 1, 1, 1};
    EXPECT_EQ(augment(resizeTo(image, 32), 32, none, random).u8, resizeTo(image, 32).u8);
}

}  // namespace
}  // namespace atlas::engine
