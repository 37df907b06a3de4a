// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/guards.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/pipeline/compare_runs.h"

namespace atlas::engine {
namespace {

RunRecord recordWith(size_t contexts, float step) {
    RunRecord record;
    for (size_t i = 0; i < contexts; ++i)
        record.rows.push_back({{}, {0.6f + step * static_cast<float>(i), 0.4f}, {}});
    return record;
}

TEST(Guards, AreQuietWhereNothingIsWrong) {
    EXPECT_TRUE(guardFindings(recordWith(20, 0.01f), 0.1).empty());
    EXPECT_TRUE(guardFindings(recordWith(3, 0), 0).empty());
}

TEST(Guards, SayWhatIsWrong) {
    const auto same = guardFindings(recordWith(20, 0), 0);
    ASSERT_EQ(same.size(), 1u);
    EXPECT_EQ(same[0].code, "same-answer");
    EXPECT_EQ(same[0].severity, Severity::Warn);
    EXPECT_NE(same[0].text().find("20 contexts"), std::string::npos);
    const auto empty = guardFindings(recordWith(20, 0.01f), 0.7);
    ASSERT_EQ(empty.size(), 1u);
    EXPECT_EQ(empty[0].code, "no-data");
    EXPECT_NE(empty[0].text().find("70 %"), std::string::npos);
}

TEST(Findings, ANewerOneTakesThePlaceOfTheOlder) {
    std::vector<Finding> findings{{"colours", Severity::Warn, "Old.", "", ""},
                                  {"colours-unknown", Severity::Note, "Not compared.", "", ""}};
    mergeFindings(findings, {{"colours", Severity::Warn, "New.", "Why.", "Do."},
                             {"no-data", Severity::Warn, "Empty.", "", ""}});
    ASSERT_EQ(findings.size(), 3u);
    EXPECT_EQ(findings[0].text(), "New. Why. Do.");
    EXPECT_EQ(findingCodes(findings), "colours no-data");
    EXPECT_EQ(warningTexts(findings), (std::vector<std::string>{"New. Why. Do.", "Empty."}));
}

LoadedRun runWith(std::vector<std::string> names, std::vector<float> classes, double x,
                  double cell) {
    LoadedRun run;
    run.classNames = std::move(names);
    run.layers.classes = io::GridRaster(static_cast<int>(classes.size()), 1, 1);
    run.layers.classes.values = std::move(classes);
    run.layers.classes.x = x;
    run.layers.classes.cellWidth = run.layers.classes.cellHeight = cell;
    return run;
}

TEST(CompareRuns, GoesByNameAndPlace) {
    // The second names its classes otherwise, and has cells of half the size.
    const LoadedRun a = runWith({"field", "water"}, {0, 1, NAN, 0}, 0, 100),
                    b = runWith({"water", "field", "rock"}, {1, 1, 0, 2, 0, 0, 1, 1}, 0, 50);
    const RunComparison c = compareRuns(a, b);
    EXPECT_EQ(c.classNames, (std::vector<std::string>{"field", "water", "rock"}));
    EXPECT_EQ(c.compared, 6);  // two cells lie where the first says nothing
    EXPECT_EQ(c.same, 5);
    EXPECT_EQ(c.confusion[1][2], 1);  // water became rock
    EXPECT_EQ(c.confusion[0][0], 4);
    EXPECT_EQ(c.difference.at(0, 3, 0), 1);
    EXPECT_EQ(c.difference.at(0, 2, 0), 0);
    EXPECT_TRUE(std::isnan(c.difference.at(0, 4, 0)));
    EXPECT_NEAR(compareRuns(b, a).agreement(), c.agreement(), 1e-12);
    EXPECT_THROW(compareRuns(a, runWith({"field"}, {0, 0}, 5000, 10)), std::runtime_error);
}

}  // namespace
}  // namespace atlas::engine
