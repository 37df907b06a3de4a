// SPDX-License-Identifier: Apache-2.0
// Exported models are code: what was asked about is what runs.
#include "engine/pipeline/trust.h"

#include <gtest/gtest.h>

#include "engine/nn/model_error.h"
#include "engine/pipeline/run_folder.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

/// Two exported models: bright places are of class 0 to the one, and of class 1 to the other.
class TrustTest : public testing::Test {
  protected:
    void SetUp() override {
        model_ = test::writeTorchScript(folder_.path() / "model");
        file_ = model_ / "torchscript_model.pt";
        torch::jit::Module module("Darkness");
        module.define(
            "def forward(self, x):\n"
            "    b = x.mean([1, 2, 3]).unsqueeze(1)\n"
            "    return torch.cat([-b, b], 1)\n");
        module.save(other_.string());
    }
    void swap() { fs::copy_file(other_, file_, fs::copy_options::overwrite_existing); }

    test::TemporaryFolder folder_;
    fs::path model_, file_, other_ = folder_.path() / "other.pt";
};

TEST_F(TrustTest, WhatWasReadIsWhatRuns) {
    ClassifierOptions options;
    options.device = "cpu";
    std::string asked;
    options.refuseCode = [&](std::string_view code) {
        asked = sha256Of(code);
        swap();  // between the question and the first use
        return std::string();
    };
    const std::string written = fileSha256(file_);
    const auto classifier = Classifier::open(model_, options);
    EXPECT_EQ(asked, written);
    const std::vector<uint8_t> white(size_t{256} * 256 * 4, 255);
    EXPECT_GT(classifier->classify({{white}}, false).at(0).probabilities.at(0), 0.9f);
}

TEST_F(TrustTest, AFileChangedAfterItWasTrustedIsRefused) {
    RunRequest request;
    request.modelDir = model_;
    request.device = "cpu";
    request.trustFile = folder_.path() / "trusted.json";
    EXPECT_TRUE(trust(*codeOf(model_), request.trustFile));
    EXPECT_FALSE(trust(*codeOf(model_), request.trustFile));  // there is nothing new to say
    const auto options = classifierOptions(request);
    EXPECT_NE(Classifier::open(model_, options), nullptr);
    swap();
    try {
        Classifier::open(model_, options);
        FAIL() << "code that was not trusted has run";
    } catch (const ModelError& error) {
        EXPECT_NE(std::string(error.what()).find(fileSha256(file_)), std::string::npos);
        EXPECT_NE(std::string(error.what()).find("--trust-model"), std::string::npos);
    }
    EXPECT_THROW(Classifier::open(model_, {}), ModelError);  // nobody was asked
}

}  // namespace
}  // namespace atlas::engine
