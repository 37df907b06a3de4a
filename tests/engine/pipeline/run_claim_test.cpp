// SPDX-License-Identifier: Apache-2.0
// One writer at a time: exclusive, waited for, taken over from the dead, and noticed by the woken.
#include "engine/pipeline/run_claim.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "engine/pipeline/process_identity.h"
#include "tests/support/temporary_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

const RunClaim::Options kQuick{milliseconds(20), milliseconds(300), milliseconds(10)};

bool giveUp(const std::string&) {
    return false;
}
bool waitOn(const std::string&) {
    return true;
}

/// A claim as another process left it; `process` is its text.
void leaveClaim(const fs::path& folder, const nlohmann::json& process) {
    fs::create_directories(folder);
    std::ofstream(folder / "owner-of-old") << process.dump();
}

nlohmann::json elsewhere() {
    return {{"host", "node17"},
            {"process", 4711},
            {"space", "another boot"},
            {"started", 99},
            {"heartbeat", 5}};
}

TEST(RunClaim, IsExclusiveAndSaysWhoHasIt) {
    const test::TemporaryFolder folder;
    auto first = RunClaim::take(folder.path() / "a.claim", giveUp, kQuick);
    ASSERT_TRUE(first);
    std::string owner;
    const auto second = RunClaim::take(
        folder.path() / "a.claim",
        [&](const std::string& who) {
            owner = who;
            return false;
        },
        kQuick);
    EXPECT_FALSE(second);
    EXPECT_NE(owner.find("process " + std::to_string(getpid())), std::string::npos) << owner;
    first.reset();
    EXPECT_TRUE(RunClaim::take(folder.path() / "a.claim", giveUp, kQuick));
    EXPECT_TRUE(fs::is_empty(folder.path())) << "nothing is left of a claim that was given back";
}

TEST(RunClaim, OfManyOneHasItAtATime) {
    const test::TemporaryFolder folder;
    std::atomic<int> inside{0}, most{0}, done{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&] {
                const auto claim = RunClaim::take(folder.path() / "a.claim", waitOn, kQuick);
                most = std::max(most.load(), ++inside);
                std::this_thread::sleep_for(milliseconds(15));
                claim->check();
                --inside;
                ++done;
            });
    }
    EXPECT_EQ(done, 8);
    EXPECT_EQ(most, 1);
}

TEST(RunClaim, TheDeadOnesIsTakenOverAtOnce) {
    const test::TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) {
        auto* claim = RunClaim::take(folder.path() / "a.claim", giveUp, kQuick).release();
        _exit(claim ? 0 : 1);  // as a kill: nothing is given back
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_EQ(WEXITSTATUS(status), 0);
    ASSERT_TRUE(fs::exists(folder.path() / "a.claim"));
    const auto claim = RunClaim::take(folder.path() / "a.claim", giveUp,
                                      {milliseconds(20), std::chrono::hours(1), milliseconds(10)});
    ASSERT_TRUE(claim) << "the process that had it is gone: there is nothing to wait for";
    EXPECT_FALSE(claim->formerOwnerMayWake());
}

TEST(RunClaim, OfAnotherMachineItIsTakenWhenItsHeartStandsStill) {
    const test::TemporaryFolder folder;
    leaveClaim(folder.path() / "a.claim", elsewhere());
    std::string owner;
    const auto begin = std::chrono::steady_clock::now();
    const auto claim = RunClaim::take(
        folder.path() / "a.claim",
        [&](const std::string& who) {
            owner = who;
            return true;
        },
        kQuick);
    ASSERT_TRUE(claim);
    EXPECT_EQ(owner, "node17, process 4711");
    EXPECT_TRUE(claim->formerOwnerMayWake());
    EXPECT_GE(std::chrono::steady_clock::now() - begin, kQuick.stale);
}

TEST(RunClaim, ABeatingHeartIsWaitedFor) {
    const test::TemporaryFolder folder;
    leaveClaim(folder.path() / "a.claim", elsewhere());
    std::jthread heart([&](const std::stop_token& end) {
        for (int beat = 6; !end.stop_requested(); ++beat) {
            auto text = elsewhere();
            text["heartbeat"] = beat;
            std::ofstream(folder.path() / "a.claim" / "owner-of-old") << text.dump();
            std::this_thread::sleep_for(milliseconds(30));
        }
    });
    const auto until = std::chrono::steady_clock::now() + 3 * kQuick.stale;
    const auto claim = RunClaim::take(
        folder.path() / "a.claim",
        [&](const std::string&) { return std::chrono::steady_clock::now() < until; }, kQuick);
    EXPECT_FALSE(claim);
}

TEST(RunClaim, AWokenWriterSeesThatItWasTakenOver) {
    const test::TemporaryFolder folder;
    // Its heart beats so seldom that it looks dead.
    const auto sleeping =
        RunClaim::take(folder.path() / "a.claim", giveUp,
                       {std::chrono::hours(1), milliseconds(300), milliseconds(10)});
    EXPECT_NO_THROW(sleeping->check());
    // In another space of processes nothing can be said of its life; only its heart counts.
    const auto successor = RunClaim::take(folder.path() / "a.claim", waitOn, kQuick);
    ASSERT_TRUE(successor);
    EXPECT_THROW(sleeping->check(), ClaimLost);
    EXPECT_NO_THROW(successor->check());
    EXPECT_NE(sleeping->token(), successor->token());
}

TEST(RunClaim, OfSeveralSuccessorsOneSucceeds) {
    const test::TemporaryFolder folder;
    leaveClaim(folder.path() / "a.claim", elsewhere());
    std::atomic<int> inside{0}, most{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 6; ++i)
            threads.emplace_back([&] {
                const auto claim = RunClaim::take(folder.path() / "a.claim", waitOn, kQuick);
                most = std::max(most.load(), ++inside);
                std::this_thread::sleep_for(milliseconds(15));
                --inside;
            });
    }
    EXPECT_EQ(most, 1);
}

TEST(RunClaim, SaysWhereItCannotBeMade) {
    const test::TemporaryFolder folder;
    std::ofstream(folder.path() / "file") << "x";
    try {
        RunClaim::take(folder.path() / "file" / "a.claim", giveUp, kQuick);
        FAIL() << "a file is no folder";
    } catch (const std::exception& error) {
        EXPECT_NE(std::string(error.what()).find("file"), std::string::npos) << error.what();
    }
}

TEST(ProcessIdentity, KnowsItselfAndTheDead) {
    const ProcessIdentity self = thisProcess();
    EXPECT_EQ(self.pid, getpid());
    EXPECT_FALSE(isSurelyGone(self));
    ProcessIdentity other = self;
    other.started += 12345;  // the number was given to another process meanwhile
    EXPECT_TRUE(isSurelyGone(other));
    other = self;
    other.space = "another machine";
    other.pid = 1 << 29;
    EXPECT_FALSE(isSurelyGone(other)) << "of another machine nothing can be said";
}

}  // namespace
}  // namespace atlas::engine
