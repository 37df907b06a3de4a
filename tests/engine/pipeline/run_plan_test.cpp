// SPDX-License-Identifier: Apache-2.0
// Where contexts lie, and which part of the image each answers for.
#include "engine/pipeline/run_plan.h"

#include <gtest/gtest.h>

#include "tests/support/pipeline_runs.h"

namespace atlas::engine {
namespace {

RunPlan planOf(int size, double overlap, const char* architecture = "atlas") {
    const auto source = io::openImage("synthetic:size=" + std::to_string(size) + ",seed=21");
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    ModelConfig model = loadModelConfig(test::kModels / "scenes");
    model.architecture = architecture;
    RunRequest request;
    request.overlap = overlap;
    return planRun(image, model, request);
}

TEST(RunPlan, ContextsAtTheEdgeMoveInwardAndAnswerForTheirPlaceAlone) {
    const RunPlan plan = planOf(2049, 0);
    ASSERT_EQ(plan.columns, 3);
    const Context& corner = plan.contexts.back();
    EXPECT_EQ(corner.x, 1025);
    EXPECT_EQ(corner.y, 1025);
    const PlaneBox box = plan.answeredBy(corner);
    EXPECT_EQ(box.x0, 2048);
    EXPECT_EQ(box.x1, 2049);
    // Together they answer for the image once.
    double area = 0;
    for (const auto& context : plan.contexts)
        area += plan.answeredBy(context).width() * plan.answeredBy(context).height();
    EXPECT_EQ(area, 2049.0 * 2049);
    EXPECT_EQ(plan.contextOver(2048.5, 10).x, 1025) << "questions look where the run looked";
    EXPECT_EQ(plan.contextOver(2047.5, 10).x, 1024);
}

TEST(RunPlan, ExportedModelsKeepWSInfersGrid) {
    for (const char* architecture : {kTorchScript, kOnnx})
        EXPECT_EQ(planOf(2049, 0, architecture).contexts.back().x, 2048) << architecture;
}

TEST(RunPlan, AnImageSmallerThanAContextIsReadFromItsCorner) {
    const RunPlan plan = planOf(700, 0);
    ASSERT_EQ(plan.contexts.size(), 1u);
    EXPECT_EQ(plan.contexts[0].x, 0);
    EXPECT_EQ(plan.answeredBy(plan.contexts[0]).x1, 700);
}

TEST(RunPlan, OverlappingContextsAnswerForAllThatTheySee) {
    const RunPlan plan = planOf(2560, 0.5);
    EXPECT_TRUE(plan.isBlended());
    const PlaneBox box = plan.answeredBy(plan.contexts[1]);
    EXPECT_EQ(box.x0, 512);
    EXPECT_EQ(box.x1, 1536);
    EXPECT_EQ(plan.contexts.back().x, 1536);
}

}  // namespace
}  // namespace atlas::engine
