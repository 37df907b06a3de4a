// SPDX-License-Identifier: Apache-2.0
// The same run gives the same bytes: whatever is looked at, killed or not, alone or beside another
// process that wants the same.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/pipeline/journal.h"
#include "engine/pipeline/run_identity.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::runOf, test::sceneRequest, test::textOf;

const std::vector<const char*> kRasters{"classes.tif",      "prob.tif",         "mass.tif",
                                        "attention_s0.tif", "attention_s1.tif", "attention_s2.tif",
                                        "tiles.csv",        "summary.json"};

RunRequest overlapping(const fs::path& out) {
    RunRequest request = sceneRequest(out, "synthetic:size=2560,seed=21");
    request.overlap = 0.5;
    request.batch = 2;
    return request;
}

RunOutcome runLookingAt(const RunRequest& request, double x, double y) {
    ClassifyRun run(request, std::make_shared<io::TileCache>(size_t{64} << 20));
    run.setFocus(x, y);
    return run.run({}, [](const RunProgress&) {});
}

void expectSameBytes(const fs::path& a, const fs::path& b) {
    for (const char* name : kRasters) EXPECT_EQ(textOf(a / name), textOf(b / name)) << name;
}

TEST(RepeatableRun, OverlapGivesTheSameBytesWhereverTheUserLooks) {
    const test::TemporaryFolder one, two;
    const RunOutcome first = runLookingAt(overlapping(one.path()), 0, 0);
    const RunOutcome second = runLookingAt(overlapping(two.path()), 2500, 2500);
    ASSERT_EQ(first.state, RunState::Done) << first.error;
    ASSERT_EQ(second.state, RunState::Done) << second.error;
    expectSameBytes(first.folder, second.folder);
}

TEST(RepeatableRun, AKilledRunGoesOnInTheSameGroups) {
    const test::TemporaryFolder killed, whole;
    std::stop_source stop;
    RunRequest request = overlapping(killed.path());
    const RunOutcome part = runOf(request, stop.get_token(), [&](const RunProgress& p) {
        if (p.done >= 4) stop.request_stop();
    });
    ASSERT_EQ(part.state, RunState::Cancelled);
    // As a kill in the middle of a group leaves it: the last record is torn.
    for (const auto& entry : fs::directory_iterator(part.folder))
        if (entry.path().filename().string().starts_with("journal-"))
            fs::resize_file(entry.path(), fs::file_size(entry.path()) - 7);
    request.batch = 3;  // what the program would choose today
    const RunOutcome resumed = runOf(request);
    ASSERT_EQ(resumed.state, RunState::Done) << resumed.error;
    const auto record = json::parse(textOf(resumed.folder / "run.json"));
    EXPECT_EQ(record["parameters"]["batch"], 2) << "as it was begun";
    const RunOutcome undisturbed = runOf(overlapping(whole.path()));
    expectSameBytes(resumed.folder, undisturbed.folder);
}

TEST(RepeatableRun, AnAnswerCountsOnceHoweverOftenItIsWritten) {
    const test::TemporaryFolder folder;
    std::stop_source stop;
    const RunRequest request = overlapping(folder.path());
    const RunOutcome part = runOf(request, stop.get_token(), [&](const RunProgress& p) {
        if (p.done >= 2) stop.request_stop();
    });
    ASSERT_EQ(part.state, RunState::Cancelled);
    // As two writers at once left it: every record many times, more than the run has contexts.
    std::vector<fs::path> journals;
    for (const auto& entry : fs::directory_iterator(part.folder))
        if (entry.path().filename().string().starts_with("journal-")) journals.push_back(entry);
    ASSERT_EQ(journals.size(), 1u);
    for (int i = 0; i < 12; ++i)
        fs::copy_file(journals[0], part.folder / ("journal-copy" + std::to_string(i)));
    int64_t start = -1;
    const RunOutcome resumed = runOf(request, {}, [&](const RunProgress& p) {
        if (p.done > 0 && start < 0) start = p.done;
    });
    ASSERT_EQ(resumed.state, RunState::Done) << resumed.error;
    EXPECT_LE(start, part.contexts + 2);
    EXPECT_EQ(resumed.contexts, 16);
    EXPECT_EQ(loadRun(resumed.folder).tiles.size(), 16u);
    for (const auto& entry : fs::directory_iterator(resumed.folder))
        EXPECT_FALSE(entry.path().filename().string().starts_with("journal-")) << entry.path();
}

TEST(RepeatableRun, OfTwoThatWantTheSameOneWaitsForTheOther) {
    const test::TemporaryFolder folder;
    std::vector<RunOutcome> outcomes(2);
    std::vector<std::string> waited(2);
    {
        std::vector<std::jthread> threads;
        for (size_t i = 0; i < 2; ++i)
            threads.emplace_back([&, i] {
                outcomes[i] = runOf(overlapping(folder.path()), {}, [&, i](const RunProgress& p) {
                    if (!p.waitingFor.empty()) waited[i] = p.waitingFor;
                });
            });
    }
    for (const auto& outcome : outcomes) {
        ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
        EXPECT_EQ(outcome.contexts, 16);
    }
    EXPECT_NE(outcomes[0].alreadyThere, outcomes[1].alreadyThere);
    EXPECT_NE((waited[0] + waited[1]).find("process "), std::string::npos);
    EXPECT_EQ(outcomes[0].folder, outcomes[1].folder);
    int left = 0;
    for (const auto& entry : fs::directory_iterator(outcomes[0].folder.parent_path())) {
        ++left;
        EXPECT_EQ(entry.path(), outcomes[0].folder);
    }
    EXPECT_EQ(left, 1);
}

TEST(RepeatableRun, OneThatWaitsCanBeStopped) {
    const test::TemporaryFolder folder;
    std::stop_source stopFirst, stopSecond;
    std::atomic<bool> second{false};
    RunOutcome waiting;
    std::jthread other;
    const RunOutcome first =
        runOf(overlapping(folder.path()), stopFirst.get_token(), [&](const RunProgress& p) {
            if (p.done < 2 || second.exchange(true)) return;
            other = std::jthread([&] {
                waiting = runOf(overlapping(folder.path()), stopSecond.get_token(),
                                [&](const RunProgress& q) {
                                    if (!q.waitingFor.empty()) stopSecond.request_stop();
                                });
            });
            other.join();
            stopFirst.request_stop();
        });
    EXPECT_EQ(waiting.state, RunState::Cancelled) << waiting.error;
    EXPECT_EQ(first.state, RunState::Cancelled) << first.error;
}

TEST(RepeatableRun, IsAnotherOneWhereTheProgramAnswersOtherwise) {
    RunRecord record;
    record.sourceFingerprint = "image";
    record.modelSha256 = "weights";
    const io::DisplaySettings input;
    EXPECT_EQ(runIdOf(record, input), runIdOf(record, input, kResultsVersion));
    EXPECT_NE(runIdOf(record, input), runIdOf(record, input, kResultsVersion - 1));
    io::DisplaySettings green = input;
    green.bands = {1, 1, 1};
    EXPECT_NE(runIdOf(record, input), runIdOf(record, green));
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path(), "synthetic:size=1024,seed=21");
    request.attention = false;
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(json::parse(textOf(outcome.folder / "run.json"))["results_version"], kResultsVersion);
}

TEST(RepeatableRun, SharesAreAreaAndAgreeEverywhere) {
    const test::TemporaryFolder folder;
    RunRequest request = sceneRequest(folder.path(), "synthetic:size=2049,seed=21");
    request.attention = false;
    const RunOutcome outcome = runOf(request);
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(outcome.contexts, 9) << "slivers of one pixel are answered too";
    const auto summary = json::parse(textOf(outcome.folder / "summary.json"));
    double area = 0, fraction = 0;
    std::string largest;
    double most = 0;
    for (const auto& c : summary["classes"]) {
        area += c["area_m2"].get<double>();
        fraction += c["area_fraction"].get<double>();
        if (c["area_fraction"] > most) {
            most = c["area_fraction"];
            largest = c["name"];
        }
    }
    EXPECT_NEAR(area, 2049.0 * 2049 * 0.25, 1);
    EXPECT_NEAR(fraction, 1, 1e-9);
    EXPECT_EQ(summary["most_frequent_class"], largest);
    EXPECT_EQ(outcome.mostFrequentClass, largest);
    const LoadedRun run = loadRun(outcome.folder);
    const auto areas = run.areas();
    for (size_t i = 0; i < areas.size(); ++i)
        EXPECT_NEAR(areas[i] * 0.25, summary["classes"][i]["area_m2"].get<double>(), 1e-3);
    double tiles = 0;
    for (const auto& tile : run.tiles) tiles += tile.width * tile.height;
    EXPECT_EQ(tiles, 2049.0 * 2049) << "tiles cover the image once";
    // The next call finds it, and says the same.
    const RunOutcome again = runOf(request);
    EXPECT_TRUE(again.alreadyThere);
    EXPECT_EQ(again.mostFrequentClass, largest);
    EXPECT_EQ(again.stateText(), "done before");
}

}  // namespace
}  // namespace atlas::engine
