// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/side_by_side.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>

#include "engine/nn/tensor.h"
#include "tests/support/torch_threads.h"

namespace atlas::engine {
namespace {

using Sizes = std::vector<int64_t>;

TEST(SideBySideGroups, AreNeverLargerThanAskedAndSmallTowardsTheEnd) {
    for (const int64_t items : {1, 2, 3, 5, 16, 31, 32, 100})
        for (const int64_t threads : {1, 2, 3, 8, 64}) {
            SCOPED_TRACE(std::to_string(items) + " on " + std::to_string(threads));
            const Sizes sizes = sideBySideGroups(items, threads, 4);
            EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}), items);
            EXPECT_TRUE(std::is_sorted(sizes.rbegin(), sizes.rend()));
            const bool shared = threads > 1 && 2 * items <= threads;
            EXPECT_LE(sizes.front(), shared ? items : 4);
            EXPECT_TRUE(threads == 1 || shared || sizes.back() == 1);
        }
    EXPECT_EQ(sideBySideGroups(16, 2, 4), (Sizes{4, 3, 2, 1, 1, 1, 1, 1, 1, 1}));
    EXPECT_EQ(sideBySideGroups(10, 1, 4), (Sizes{4, 4, 2}));
    EXPECT_TRUE(sideBySideGroups(0, 2, 4).empty());
}

/// One image on two threads is faster when both work on it.
TEST(SideBySideGroups, TooFewImagesAreOneGroupForAllThreads) {
    EXPECT_EQ(sideBySideGroups(1, 2, 4), Sizes{1});
    EXPECT_EQ(sideBySideGroups(2, 2, 4), (Sizes{1, 1}));
    EXPECT_EQ(sideBySideGroups(7, 16, 4), Sizes{7});
    EXPECT_EQ(sideBySideGroups(9, 16, 4).size(), 9u);
}

TEST(SideBySide, EveryImageIsDoneOnceOnAllThreads) {
    const test::TorchThreads threads(2);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    std::vector<std::atomic<int>> calls(16);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    sideBySide(16, 4, [&](int64_t first, int64_t last) {
        EXPECT_TRUE(isSideBySide());
        EXPECT_FALSE(at::GradMode::is_enabled());
        for (int64_t i = first; i < last; ++i) ++calls[static_cast<size_t>(i)];
        for (bool both = false; !both && std::chrono::steady_clock::now() < deadline;) {
            const std::lock_guard lock(mutex);
            seen.insert(std::this_thread::get_id());
            both = seen.size() == 2;
        }
    });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
    EXPECT_EQ(seen.size(), 2u);
}

TEST(SideBySide, ASingleGroupHasAllThreadsToItself) {
    const test::TorchThreads threads(2);
    int groups = 0;
    sideBySide(1, 4, [&](int64_t, int64_t) {
        EXPECT_FALSE(isSideBySide());
        EXPECT_FALSE(at::GradMode::is_enabled());
        ++groups;
    });
    EXPECT_EQ(groups, 1);
    sideBySide(0, 4, [&](int64_t, int64_t) { ++groups; });
    EXPECT_EQ(groups, 1);
}

TEST(SideBySide, WhatIsThrownArrivesAndTheRestIsLeftOut) {
    const test::TorchThreads threads(2);
    std::atomic<int> groups{0};
    EXPECT_THROW(sideBySide(1000, 1,
                            [&](int64_t, int64_t) {
                                ++groups;
                                throw std::runtime_error("group");
                            }),
                 std::runtime_error);
    EXPECT_LE(groups, 2);
}

}  // namespace
}  // namespace atlas::engine
