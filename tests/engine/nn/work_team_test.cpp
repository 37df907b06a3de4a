// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/work_team.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>

#include "tests/support/torch_threads.h"

namespace atlas::engine {
namespace {

class WorkTeamTest : public ::testing::TestWithParam<int> {
    const test::TorchThreads threads_{GetParam()};
};

TEST_P(WorkTeamTest, EveryItemAndPieceIsDoneOnce) {
    for (const int64_t items : {0, 1, 2, 3, 7, 100})
        for (const int64_t pieces : {0, 1, 2, 5, 64}) {
            SCOPED_TRACE(std::to_string(items) + " items of " + std::to_string(pieces));
            std::vector<std::atomic<int>> calls(static_cast<size_t>(items * pieces));
            std::vector<int> sums(static_cast<size_t>(items));
            WorkTeam::run(items, [&](WorkTeam::Member& team, int64_t item) {
                // Twice, so that a late helper meets the next pieces.
                for (int round = 0; round < 2; ++round) {
                    std::vector<int> results(static_cast<size_t>(pieces));
                    team.share(pieces, [&](int64_t piece) {
                        ++calls[static_cast<size_t>(item * pieces + piece)];
                        results[static_cast<size_t>(piece)] = static_cast<int>(piece);
                    });
                    // What helpers wrote is there.
                    sums[static_cast<size_t>(item)] +=
                        std::accumulate(results.begin(), results.end(), 0);
                }
            });
            for (const auto& count : calls) ASSERT_EQ(count, 2);
            for (const int sum : sums) ASSERT_EQ(sum, pieces * (pieces - 1));
        }
}

TEST_P(WorkTeamTest, MembersHaveBuffersOfTheirOwn) {
    constexpr int64_t items = 50;
    const auto members = static_cast<size_t>(WorkTeam::membersFor(items));
    EXPECT_EQ(members, std::min<size_t>(static_cast<size_t>(GetParam()), items));
    std::vector<std::atomic<int>> users(members);
    WorkTeam::run(items, [&](WorkTeam::Member& team, int64_t) {
        ASSERT_LT(team.index(), static_cast<int64_t>(members));
        auto& user = users[static_cast<size_t>(team.index())];
        EXPECT_EQ(++user, 1);
        team.share(20, [](int64_t) { std::this_thread::yield(); });
        --user;
    });
}

/// A single item belongs to the first buffer. Each piece waits until all have come.
TEST_P(WorkTeamTest, OneItemIsSharedByAllThreads) {
    const auto enough = static_cast<size_t>(GetParam());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    std::mutex mutex;
    std::set<std::thread::id> threads;
    const auto seen = [&] {
        const std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
        return threads.size();
    };
    WorkTeam::run(1, [&](WorkTeam::Member& team, int64_t) {
        EXPECT_EQ(team.index(), 0);
        EXPECT_EQ(team.crew(), GetParam());
        team.share(GetParam(), [&](int64_t) {
            while (seen() < enough && std::chrono::steady_clock::now() < deadline)
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
    });
    EXPECT_EQ(threads.size(), enough);
}

TEST_P(WorkTeamTest, WhatIsThrownArrivesAndNothingHangs) {
    EXPECT_THROW(WorkTeam::run(30,
                               [](WorkTeam::Member&, int64_t item) {
                                   if (item == 3) throw std::runtime_error("item");
                               }),
                 std::runtime_error);
    std::atomic<int> after{0};
    WorkTeam::run(3, [&](WorkTeam::Member& team, int64_t) {
        const auto fails = [](int64_t piece) {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
            if (piece == 17) throw std::out_of_range("piece");
        };
        EXPECT_THROW(team.share(40, fails), std::out_of_range);
        team.share(10, [&](int64_t) { ++after; });  // as if nothing had been
    });
    EXPECT_EQ(after, 30);
}

/// A thread that waits for another one's piece leaves the processor to other programs.
TEST_P(WorkTeamTest, WhoWaitsSleeps) {
    constexpr auto kLong = std::chrono::milliseconds(400);
    WorkTeam::run(GetParam(), [](WorkTeam::Member&, int64_t) {});  // the threads are there
    std::this_thread::sleep_for(std::chrono::milliseconds(200));   // and have come to rest
    const std::clock_t before = std::clock();
    WorkTeam::run(1, [&](WorkTeam::Member& team, int64_t) {
        team.share(2, [&](int64_t piece) {
            if (piece == 1) std::this_thread::sleep_for(kLong);
        });
    });
    const double busy = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    EXPECT_LT(busy, 0.2);  // spinning or yielding: 0.4 and more
}

TEST_P(WorkTeamTest, WithinAParallelRegionOneThreadDoesAll) {
    std::atomic<int> done{0};
    at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const auto self = std::this_thread::get_id();
            WorkTeam::run(3, [&](WorkTeam::Member& team, int64_t) {
                team.share(5, [&](int64_t) {
                    EXPECT_EQ(std::this_thread::get_id(), self);
                    ++done;
                });
            });
        }
    });
    EXPECT_EQ(done, 4 * 3 * 5);
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkTeamTest, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace atlas::engine
