// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/batch_size.h"

#include <gtest/gtest.h>

#include "engine/pipeline/trust.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/torch_threads.h"
#include "tests/support/torchscript_model.h"

namespace atlas::engine {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

/// A ResNet-34 as WSInfer has it, on two cores.
BatchFacts exported() {
    BatchFacts facts;
    facts.sidePx = 224;
    facts.weightBytes = 85'000'000;
    facts.memoryBytes = 16 * kGiB;
    facts.threads = 2;
    return facts;
}

TEST(BatchSize, WhatTheUserAsksForIsTaken) {
    BatchFacts facts = exported();
    facts.asked = 3;
    EXPECT_EQ(chooseBatch(facts).contexts, 3);
    EXPECT_EQ(chooseBatch(facts).why, "as asked");
}

TEST(BatchSize, ExportedModelsAreGivenEnoughToKeepAllThreadsBusy) {
    EXPECT_EQ(chooseBatch(exported()).contexts, 16);
    BatchFacts many = exported();
    many.threads = 32;
    many.memoryBytes = 64 * kGiB;
    EXPECT_EQ(chooseBatch(many).contexts, 128);
    BatchFacts heavy = exported();
    heavy.weightBytes = 1'200'000'000;
    EXPECT_EQ(chooseBatch(heavy).contexts, 8);
    BatchFacts unlimited = exported();
    unlimited.memoryBytes = 0;
    EXPECT_EQ(chooseBatch(unlimited).contexts, 16);
}

TEST(BatchSize, LittleMemoryTakesFewer) {
    BatchFacts facts = exported();
    facts.sidePx = 1024;  // a GiB holds one
    facts.memoryBytes = 16 * kGiB;
    EXPECT_EQ(chooseBatch(facts).contexts, 4);
    EXPECT_NE(chooseBatch(facts).why.find("16.0 GiB"), std::string::npos);
    facts.memoryBytes = kGiB / 2;
    EXPECT_EQ(chooseBatch(facts).contexts, 1);
    facts.sidePx = 65536;
    EXPECT_EQ(chooseBatch(facts).contexts, 1);
}

/// As many for each thread, none of which waits for another then.
TEST(BatchSize, OfAtlasTheArithmeticDecides) {
    BatchFacts facts = exported();
    const auto contexts = [&](double flops, int threads) {
        facts.flops = flops;
        facts.threads = threads;
        return chooseBatch(facts).contexts;
    };
    EXPECT_EQ(contexts(4e9, 2), 12);
    EXPECT_EQ(contexts(1e6, 2), 16);
    EXPECT_EQ(contexts(30e9, 2), 2);
    EXPECT_EQ(contexts(30e9, 16), 16);
    EXPECT_EQ(contexts(6e11, 2), 1);
    EXPECT_EQ(contexts(1e11, 16), 3);  // threads share contexts
    facts.onProcessor = false;
    EXPECT_EQ(contexts(4e9, 64), 11);
    EXPECT_EQ(contexts(1e6, 64), 16);
}

/// What is free at the moment, or what ran before, has no part in it.
TEST(BatchSize, OfARunFollowsFromRequestModelAndThreads) {
    const test::TemporaryFolder folder;
    const test::TorchThreads threads(2);
    auto request = test::sceneRequest(folder.path());
    request.modelDir = test::writeTorchScript(folder.path() / "model");
    request.trustFile = folder.path() / "trusted.json";
    request.memoryBytes = 8 * kGiB;
    trust(*codeOf(request.modelDir), request.trustFile);
    const auto classifier = Classifier::open(request.modelDir, classifierOptions(request));
    const BatchPlan plan = planBatches(request, *classifier);
    EXPECT_EQ(plan.contexts, 16);
    EXPECT_EQ(plan.precision, "fp32");
    EXPECT_FALSE(plan.why.empty());
    request.memoryBytes = int64_t{256} << 20;  // a context takes 64 MiB of its quarter
    EXPECT_EQ(planBatches(request, *classifier).contexts, 1);
}

}  // namespace
}  // namespace atlas::engine
