// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/guards.h"

#include <gtest/gtest.h>

namespace atlas::engine {
namespace {

RunRecord recordWith(double umPerPixel, size_t contexts, float step) {
    RunRecord record;
    record.model.spacingUmPx = 0.5;
    record.model.mean = {0.5f, 0.5f, 0.5f};
    record.model.std = {0.2f, 0.2f, 0.2f};
    record.plan.umPerPixelX = record.plan.umPerPixelY = umPerPixel;
    for (size_t i = 0; i < contexts; ++i)
        record.rows.push_back({{}, {0.6f + step * static_cast<float>(i), 0.4f}, {}});
    return record;
}

ColourStatistics coloursOf(uint8_t value) {
    ColourStatistics colours;
    ContextPixels context{std::vector<uint8_t>(64 * 64 * 4, value)};
    for (size_t i = 3; i < context.rgba.size(); i += 4) context.rgba[i] = 255;
    colours.add(context);
    return colours;
}

TEST(Guards, AreQuietWhereNothingIsWrong) {
    EXPECT_TRUE(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(128), 0.1).empty());
    EXPECT_TRUE(guardWarnings(recordWith(0.25, 3, 0), coloursOf(128), 0).empty());
    ContextPixels empty{std::vector<uint8_t>(64 * 64 * 4, 0)};
    ColourStatistics nothing;
    nothing.add(empty);
    EXPECT_EQ(nothing.count(), 0);
    EXPECT_TRUE(guardWarnings(recordWith(0.5, 3, 0), nothing, 0).empty());
}

TEST(Guards, SayWhatIsWrong) {
    const auto only = [](const std::vector<std::string>& warnings) {
        return warnings.size() == 1 ? warnings[0] : std::to_string(warnings.size()) + " warnings";
    };
    EXPECT_NE(only(guardWarnings(recordWith(1.0, 20, 0.01f), coloursOf(128), 0)).find("2.0 times"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(235), 0)).find("colours"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0), coloursOf(128), 0)).find("same answer"),
              std::string::npos);
    EXPECT_NE(only(guardWarnings(recordWith(0.5, 20, 0.01f), coloursOf(128), 0.7)).find("70 %"),
              std::string::npos);
}

}  // namespace
}  // namespace atlas::engine
