// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/work_team.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

namespace atlas::engine {
namespace {

int64_t threadsHere() {
    return at::in_parallel_region() ? 1 : at::get_num_threads();
}

}  // namespace

WorkTeam::WorkTeam(int64_t items, int64_t threads)
    : items_(items),
      crew_(std::max<int64_t>(1, threads / std::max<int64_t>(1, items))),
      shared_(static_cast<size_t>(membersFor(items))) {
    for (Shared& shared : shared_) shared.runs = std::vector<Run>(static_cast<size_t>(crew_));
}

/// Takes pieces until none is left, those of the thread's own run first; what one throws ends them.
bool WorkTeam::Shared::work(const std::function<void(int64_t)>& call, int64_t thread) {
    bool worked = false;
    try {
        for (size_t k = 0; k < runs.size(); ++k) {
            const size_t run = (static_cast<size_t>(thread) + k) % runs.size();
            const int64_t end = begin(run + 1);
            for (int64_t i = runs[run].next++; i < end; i = runs[run].next++) {
                worked = true;
                call(i);
            }
        }
    } catch (...) {
        for (Run& run : runs) run.next = count.load();
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
    }
    return worked;
}

bool WorkTeam::Shared::hasPieces() const {
    if (!piece) return false;
    for (size_t run = 0; run < runs.size(); ++run)
        if (runs[run].next < begin(run + 1)) return true;
    return false;
}

/// Helps; false if there was nothing to do. The visitor is counted before it looks, and the owner
/// closes before it counts: one of them sees the other.
bool WorkTeam::Shared::visit(int64_t thread) {
    if (!piece) return false;
    ++visitors;
    const auto* call = piece.load();
    const bool worked = call && work(*call, thread);
    --visitors;
    return worked;
}

void WorkTeam::Member::share(int64_t count, const std::function<void(int64_t)>& piece) {
    if (!team_ || count < 2) {
        for (int64_t i = 0; i < count; ++i) piece(i);
        return;
    }
    Shared& shared = team_->shared_[static_cast<size_t>(index_)];
    shared.count = count;
    for (size_t run = 0; run < shared.runs.size(); ++run) shared.runs[run].next = shared.begin(run);
    shared.piece = &piece;
    team_->idle_.wake();
    shared.work(piece, thread_);
    shared.piece = nullptr;
    team_->owners_.until([&] { return shared.visitors == 0; });
    if (shared.error) std::rethrow_exception(std::exchange(shared.error, nullptr));
}

int64_t WorkTeam::membersFor(int64_t items) {
    return std::min(threadsHere(), items);
}

void WorkTeam::takeItems(const std::function<void(Member&, int64_t)>& work, int64_t thread) {
    Member member;
    bool joined = false;
    while (true) {
        // Counted before it is taken, so that nobody who waits for the last one leaves too early.
        ++active_;
        const int64_t item = next_++;
        if (item >= items_) break;
        if (!joined) member.index_ = members_++;
        joined = true;
        member.team_ = this;
        member.thread_ = thread;
        member.crew_ = crew_;
        try {
            work(member, item);
        } catch (...) {
            fail();
        }
        finishItem();
    }
    finishItem();
}

void WorkTeam::finishItem() {
    if (--active_ == 0) idle_.wake();
}

void WorkTeam::fail() {
    next_ = items_;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
}

void WorkTeam::help(int64_t thread) {
    while (active_ > 0) {
        bool helped = false;
        for (Shared& shared : shared_) {
            helped = shared.visit(thread) || helped;
            owners_.wake();
        }
        if (helped) continue;
        idle_.until([&] {
            return active_ == 0 || std::any_of(shared_.begin(), shared_.end(),
                                               [](const Shared& s) { return s.hasPieces(); });
        });
    }
}

void WorkTeam::run(int64_t items, const std::function<void(Member&, int64_t)>& work) {
    const int64_t threads = threadsHere();
    if (threads == 1) {
        Member alone;
        for (int64_t i = 0; i < items; ++i) work(alone, i);
        return;
    }
    WorkTeam team(items, threads);
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        // Whoever stands for several does so once: there is no one else to wait for.
        if (begin < end) team.takeItems(work, begin);
        team.help(begin);
    });
    if (team.error_) std::rethrow_exception(team.error_);
}

}  // namespace atlas::engine
