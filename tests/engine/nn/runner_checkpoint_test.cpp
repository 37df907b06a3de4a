// SPDX-License-Identifier: Apache-2.0
// What a checkpoint file says is not believed before the file could hold it.
#include "engine/nn/runner_checkpoint.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

class RunnerCheckpointFile : public testing::Test {
  protected:
    void write() {
        RunnerCheckpoint(folder.path(), "key")
            .write({1, 2, 3, 0}, {}, {{"map", at::ones({1, 2, 3})}});
    }
    bool read(Trace& trace) {
        RunnerCheckpoint checkpoint(folder.path(), "key");
        EXPECT_TRUE(checkpoint.open());
        return checkpoint.read({}, trace);
    }
    /// The sides of the map begin after the head, two counts and the map's name.
    void claim(int64_t images, int64_t height, int64_t width) {
        std::fstream file(folder.path() / "checkpoint.bin",
                          std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(8 + 8 + 3 + 4 * 8 + 2 * 8 + 8 + 3);
        for (const int64_t side : {images, height, width})
            file.write(reinterpret_cast<const char*>(&side), sizeof side);
    }

    const test::TemporaryFolder folder;
};

TEST_F(RunnerCheckpointFile, ComesBackAsItWasWritten) {
    write();
    Trace trace;
    ASSERT_TRUE(read(trace));
    EXPECT_EQ(trace.at("map").sizes(), (std::vector<int64_t>{1, 2, 3}));
    EXPECT_EQ(trace.at("map").sum().item<float>(), 6);
}

/// 2^60 floats, which nobody has, and 2^32, which some machine may give before it ends the program.
TEST_F(RunnerCheckpointFile, MapsLargerThanTheFileAreRefusedBeforeMemoryIsTaken) {
    constexpr int64_t kSide = (int64_t{1} << 20) - 1;
    for (const auto& [images, height, width] : {std::tuple{kSide, kSide, kSide},
                                                {int64_t{1}, int64_t{1} << 16, int64_t{1} << 16},
                                                {int64_t{1}, int64_t{1}, kSide},
                                                {int64_t{1} << 40, int64_t{1}, int64_t{1}}}) {
        write();
        claim(images, height, width);
        Trace trace;
        bool believed = true;
        EXPECT_NO_THROW(believed = read(trace)) << images << " x " << height << " x " << width;
        EXPECT_FALSE(believed);
        EXPECT_TRUE(trace.empty());
    }
}

}  // namespace
}  // namespace atlas::engine
