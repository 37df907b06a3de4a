// SPDX-License-Identifier: Apache-2.0
// Exported models whose images are computed side by side: the answers are those of every image
// alone, and to the bit the same whenever the same group is asked for.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include "engine/nn/classifier.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torch_threads.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

/// Convolutions, so that LibTorch divides the work among threads where it may.
std::filesystem::path writeConvolutions(const std::filesystem::path& dir) {
    test::writeTorchScript(dir);  // config.json
    at::manual_seed(11);
    torch::jit::Module module("Convolutions");
    module.register_parameter("first", at::randn({16, 3, 3, 3}), false);
    module.register_parameter("second", at::randn({32, 16, 3, 3}) * 0.1, false);
    module.register_parameter("head", at::randn({32, 2}), false);
    module.define(
        "def forward(self, x):\n"
        "    x = torch.relu(torch.conv2d(x, self.first))\n"
        "    x = torch.relu(torch.conv2d(x, self.second) * 0.5 + 0.1)\n"
        "    return torch.matmul(x.mean([2, 3]), self.head)\n");
    module.save((dir / "torchscript_model.pt").string());
    return dir;
}

std::vector<ContextPixels> someContexts(size_t count, unsigned seed) {
    std::vector<ContextPixels> contexts(count);
    for (size_t n = 0; n < count; ++n) {
        contexts[n].rgba.resize(size_t{256} * 256 * 4);
        for (size_t i = 0; i < contexts[n].rgba.size(); ++i)
            contexts[n].rgba[i] = static_cast<uint8_t>(
                i % 4 == 3 ? 255 : (i * (31 + 2 * seed) + 70 * n + i / 257) % 251);
    }
    contexts[count / 2].rgba.assign(contexts[0].rgba.size(), 0);  // without data
    return contexts;
}

class SideBySideAnswers : public ::testing::Test {
  protected:
    std::unique_ptr<Classifier> open() const {
        ClassifierOptions options;
        options.device = "cpu";
        options.refuseCode = [](std::string_view) { return std::string(); };
        return Classifier::open(model_, options);
    }
    const test::TemporaryFolder folder_;
    const std::filesystem::path model_ = writeConvolutions(folder_.path() / "model");
    const test::TorchThreads threads_{2};
};

TEST_F(SideBySideAnswers, AreThoseOfEveryImageAlone) {
    const auto contexts = someContexts(15, 1);
    const auto classifier = open();
    const auto together = classifier->classify(contexts, false);
    ASSERT_EQ(together.size(), contexts.size());
    for (size_t n = 0; n < contexts.size(); ++n) {
        const auto alone = classifier->classify({contexts[n]}, false);
        ASSERT_EQ(alone[0].probabilities.size(), together[n].probabilities.size()) << n;
        EXPECT_EQ(together[n].probabilities.empty(), n == contexts.size() / 2);
        for (size_t c = 0; c < alone[0].probabilities.size(); ++c)
            EXPECT_NEAR(alone[0].probabilities[c], together[n].probabilities[c], 1e-5) << n;
    }
}

/// As in a run that was killed after its first group, and in one that was not.
TEST_F(SideBySideAnswers, AreTheSameBytesWhateverWasAskedBefore) {
    const auto first = someContexts(16, 1), second = someContexts(11, 2);
    const auto undisturbed = open(), resumed = open();
    undisturbed->classify(first, false);
    undisturbed->classify(first, false);
    const auto a = undisturbed->classify(second, false), b = resumed->classify(second, false);
    for (size_t n = 0; n < second.size(); ++n)
        EXPECT_EQ(a[n].probabilities, b[n].probabilities) << n;
}

/// Only Atlas networks compute in bfloat16.
TEST_F(SideBySideAnswers, WhoAsksForBfloat16IsToldThatItChangesNothing) {
    ClassifierOptions options;
    options.refuseCode = [](std::string_view) { return std::string(); };
    options.precision = "bf16";
    const auto classifier = Classifier::open(model_, options);
    EXPECT_EQ(classifier->precision(), "fp32");
    ASSERT_EQ(classifier->warnings().size(), 1u);
    EXPECT_NE(classifier->warnings()[0].find("--precision bf16 changes nothing"),
              std::string::npos);
    EXPECT_TRUE(open()->warnings().empty());
}

}  // namespace
}  // namespace atlas::engine
