// SPDX-License-Identifier: Apache-2.0
// Models of the user: added without what does not belong to them, removed, tried out.
#include "engine/pipeline/model_library.h"

#include <gtest/gtest.h>

#include <fstream>

#include "engine/nn/model_error.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

TEST(ModelLibrary, CopiesWhatBelongsToAModel) {
    const test::TemporaryFolder folder;
    const fs::path from = folder.path() / "mine", library = folder.path() / "library";
    fs::copy(test::kModels / "scenes", from, fs::copy_options::recursive);
    std::ofstream(from / "slide.svs") << "gigabytes of pixels";
    fs::create_directory(from / "results");
    const fs::path to = addModel(from, library);
    EXPECT_EQ(to, library / "mine");
    EXPECT_TRUE(fs::exists(to / "config.json"));
    EXPECT_TRUE(fs::exists(to / "model.safetensors"));
    EXPECT_FALSE(fs::exists(to / "slide.svs"));
    EXPECT_FALSE(fs::exists(to / "results"));
    EXPECT_EQ(addModel(from, library), to) << "the same once more";
    EXPECT_EQ(addModel(from.string() + "/", library), to) << "also with a slash";
    const auto card = modelCard(to);
    EXPECT_EQ(card.format, "Atlas");
    EXPECT_GT(card.bytes, 1 << 20);
    // Another model of the name, and one without weights.
    std::ofstream(from / "model.safetensors", std::ios::app) << "x";
    EXPECT_THROW(addModel(from, library), std::runtime_error);
    fs::remove(from / "model.safetensors");
    EXPECT_THROW(addModel(from, library), std::runtime_error);
    EXPECT_THROW(addModel(folder.path() / "nothing", library), ModelError);
    EXPECT_THROW(removeModel(from, library), std::runtime_error) << "it lies elsewhere";
    EXPECT_THROW(removeModel(library, folder.path() / "other"), std::runtime_error);
    EXPECT_TRUE(fs::exists(from));
    removeModel(to, library);
    EXPECT_TRUE(fs::is_empty(library)) << "nothing half copied is left";
}

TEST(ModelLibrary, TriesAModelOut) {
    const auto scenes =
        checkModel(*Classifier::open(test::kModels / "landuse", {.device = "cpu", .cache = {}}));
    EXPECT_TRUE(scenes.good) << scenes.finding;
    EXPECT_GT(scenes.megapixelsPerSecond, 0.01);
    EXPECT_NEAR(scenes.megapixelsPerSecond * scenes.secondsPerContext, 256 * 256 / 1e6, 1e-6);
    // One that answers the same to everything works, and that is said.
    const test::TemporaryFolder folder;
    const auto tried = [&](const char* program) {
        const fs::path dir = test::writeTorchScript(folder.path() / "net");
        torch::jit::Module module("Net");
        module.define(program);
        module.save((dir / "torchscript_model.pt").string());
        return checkModel(
            *Classifier::open(dir, {.device = "cpu", .cache = {}, .refuseCode = test::trustAll}));
    };
    const auto constant = tried("def forward(self, x):\n    return torch.zeros([x.size(0), 2])\n");
    EXPECT_TRUE(constant.good);
    EXPECT_NE(constant.finding.find("the same"), std::string::npos) << constant.finding;
    EXPECT_FALSE(tried("def forward(self, x):\n    return torch.zeros([x.size(0), 3])\n").good);
    const auto unsteady = tried("def forward(self, x):\n    return torch.randn([x.size(0), 2])\n");
    EXPECT_FALSE(unsteady.good);
    EXPECT_NE(unsteady.finding.find("differently"), std::string::npos) << unsteady.finding;
    const auto nothing =
        tried("def forward(self, x):\n    return torch.zeros([x.size(0), 2]) / 0\n");
    EXPECT_FALSE(nothing.good) << nothing.finding;
}

}  // namespace
}  // namespace atlas::engine
