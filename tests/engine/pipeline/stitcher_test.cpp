// SPDX-License-Identifier: Apache-2.0
// Answers of contexts as rasters: snapshots that never change, and answers of the wrong shape.
#include "engine/pipeline/stitcher.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace atlas::engine {
namespace {

/// Two classes, contexts of 64 px over 100 x 64 px; the second one is moved inward.
struct Fixture {
    RunPlan plan;
    ModelConfig model;

    explicit Fixture(double stride = 64) {
        plan.region = {0, 0, 100, 64};
        plan.imageWidth = 100;
        plan.imageHeight = 64;
        plan.contextPx = 64;
        plan.contextWidth = plan.contextHeight = 64;
        plan.strideX = plan.strideY = stride;
        plan.columns = 2;
        plan.rows = 1;
        plan.movesInward = true;
        plan.contexts = {plan.contextAt(0, 0), plan.contextAt(1, 0)};
        model.classNames = {"a", "b"};
        model.patchSizePx = 64;
        model.architecture = "halonet";
        model.mapSidesPx = {16};
    }
};

ContextResult answerOf(float a, float attention) {
    ContextResult result;
    result.probabilities = {a, 1 - a};
    ScaleMap map{4, {}};
    for (int i = 0; i < 16; ++i) map.values.push_back(attention + static_cast<float>(i % 4));
    result.received = {map};
    return result;
}

TEST(Stitcher, AContextThatWasMovedAnswersForItsPlaceByWhatLiesThere) {
    Fixture f;
    Stitcher stitcher(f.plan, f.model, true);
    stitcher.add(f.plan.contexts[0], answerOf(0.25f, 10));
    stitcher.add(f.plan.contexts[1], answerOf(0.75f, 100));
    const auto layers = stitcher.snapshot();
    ASSERT_EQ(layers->probabilities.width, 2);
    EXPECT_EQ(layers->probabilities.at(0, 0, 0), 0.25f) << "the network's own number";
    EXPECT_EQ(layers->probabilities.at(0, 1, 0), 0.75f);
    const auto& map = layers->attention.at(0);
    ASSERT_EQ(map.width, 7);
    EXPECT_EQ(map.at(0, 3, 0), 13) << "of the first context alone";
    // The second context lies at 36 px: 64 to 80 px is its token 2, (96 + 100) / 2 its token 3.
    EXPECT_EQ(map.at(0, 4, 0), 102);
    EXPECT_EQ(map.at(0, 6, 0), 103);
}

TEST(Stitcher, ASnapshotNeverChangesAndIsSharedWhereNothingDid) {
    Fixture f;
    Stitcher stitcher(f.plan, f.model, true);
    const auto empty = stitcher.snapshot();
    EXPECT_TRUE(std::isnan(empty->classes.at(0, 0, 0)));
    EXPECT_EQ(stitcher.snapshot(), empty);
    stitcher.add(f.plan.contexts[0], answerOf(0.25f, 10));
    const auto one = stitcher.snapshot();
    EXPECT_NE(one, empty);
    EXPECT_EQ(one->classes.at(0, 0, 0), 1);
    EXPECT_TRUE(std::isnan(empty->classes.at(0, 0, 0)));
    EXPECT_TRUE(std::isnan(one->classes.at(0, 1, 0)));
    EXPECT_EQ(stitcher.snapshot(), one);
    stitcher.startAgain();
    EXPECT_EQ(stitcher.snapshot(), one) << "what was seen stays until the second pass is done";
    stitcher.add(f.plan.contexts[1], answerOf(0.75f, 10));
    stitcher.thaw();
    const auto second = stitcher.snapshot();
    EXPECT_TRUE(std::isnan(second->classes.at(0, 0, 0)));
    EXPECT_EQ(second->classes.at(0, 1, 0), 0);
}

TEST(Stitcher, SnapshotsMayBeTakenWhileAnswersCome) {
    Fixture f(32);
    Stitcher stitcher(f.plan, f.model, true);
    std::jthread reader([&](const std::stop_token& end) {
        while (!end.stop_requested()) EXPECT_EQ(stitcher.snapshot()->attention.size(), 1u);
    });
    for (int i = 0; i < 300; ++i)
        stitcher.add(f.plan.contexts[static_cast<size_t>(i % 2)], answerOf(0.5f, 1));
    reader.request_stop();
    reader.join();
    EXPECT_NEAR(stitcher.snapshot()->probabilities.at(0, 0, 0), 0.5, 1e-6);
}

TEST(Stitcher, RefusesAnswersOfAnotherShape) {
    Fixture f;
    Stitcher stitcher(f.plan, f.model, true);
    auto wrong = answerOf(0.5f, 1);
    wrong.received[0].side = 5;
    EXPECT_THROW(stitcher.add(f.plan.contexts[0], wrong), std::runtime_error);
    wrong = answerOf(0.5f, 1);
    wrong.received.push_back(wrong.received[0]);
    EXPECT_THROW(stitcher.add(f.plan.contexts[0], wrong), std::runtime_error);
    wrong = answerOf(0.5f, 1);
    wrong.probabilities.push_back(0);
    EXPECT_THROW(stitcher.add(f.plan.contexts[0], wrong), std::runtime_error);
    wrong = answerOf(0.5f, 1);
    wrong.segments = {{2, {1, 0, 0, 1}}};
    EXPECT_THROW(stitcher.add(f.plan.contexts[0], wrong), std::runtime_error);
}

}  // namespace
}  // namespace atlas::engine
