// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/context_reader.h"

#include <gtest/gtest.h>

namespace atlas::engine {
namespace {

io::ImageInfo imageOf(int64_t width, int64_t height) {
    io::ImageInfo info;
    info.levels = {{width, height, 1, 256, 256}};
    return info;
}

/// A square whose first `columns` columns hold data.
ContextPixels filledTo(int columns, int side = 64) {
    ContextPixels pixels{std::vector<uint8_t>(static_cast<size_t>(side * side * 4), 0)};
    for (int y = 0; y < side; ++y)
        for (int x = 0; x < columns; ++x)
            pixels.rgba[static_cast<size_t>(4 * (y * side + x) + 3)] = 255;
    return pixels;
}

TEST(DataShare, DoesNotCountWhatLiesOutsideOfTheImage) {
    // The right three quarters of the context are padding: there is nothing to lose.
    DataShare share;
    share.add(imageOf(160, 1000), {0, 0, 640, 640}, filledTo(16));
    EXPECT_DOUBLE_EQ(share.without(), 0);
}

TEST(DataShare, CountsHolesInsideOfTheImage) {
    DataShare share;
    share.add(imageOf(640, 640), {0, 0, 640, 640}, filledTo(16));
    EXPECT_NEAR(share.without(), 0.75, 0.03);
    // Half of the image's own part of a context over the edge.
    DataShare edge;
    edge.add(imageOf(320, 640), {0, 0, 640, 640}, filledTo(16));
    EXPECT_NEAR(edge.without(), 0.5, 0.05);
}

}  // namespace
}  // namespace atlas::engine
