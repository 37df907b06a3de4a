// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

#include "engine/nn/brief_wait.h"

namespace atlas::engine {

/// The threads of one run() that take items of work one by one, and help each other with the pieces
/// of an item when no item is left: one long item keeps all of them busy, and a thread on a slow
/// core keeps nobody waiting.
class WorkTeam {
  public:
    class Member {
      public:
        /// Of those with an item, from 0; for buffers that a thread keeps while it works.
        int64_t index() const { return index_; }
        /// Threads for each item, at least 1: so many may share its pieces all the time.
        int64_t crew() const { return crew_; }
        /// Calls piece(0) to piece(count - 1), each once, here or on threads that have nothing else
        /// to do, and returns when all are done. Each thread of the crew begins with the same run
        /// of pieces every time, whose data may lie in its cache. Throws what a piece threw.
        void share(int64_t count, const std::function<void(int64_t)>& piece);

      private:
        friend class WorkTeam;
        WorkTeam* team_ = nullptr;  ///< null: alone
        int64_t index_ = 0, thread_ = 0, crew_ = 1;
    };

    /// Calls work(member, item) for the items [0, items), each once, on all threads of LibTorch,
    /// and returns when all are done. Within a parallel region the calling thread does everything.
    /// Throws what an item threw first; items that had not begun are then left out.
    static void run(int64_t items, const std::function<void(Member&, int64_t item)>& work);
    /// Members that such a run has at most.
    static int64_t membersFor(int64_t items);

  private:
    /// The next piece of a run of them.
    struct alignas(64) Run {
        std::atomic<int64_t> next{0};
    };
    /// The pieces that a member shares at the moment. Whoever is not its owner reads it as a
    /// visitor: the owner closes it first and then waits until no visitor is left.
    struct alignas(64) Shared {
        std::atomic<const std::function<void(int64_t)>*> piece{nullptr};
        std::atomic<int64_t> count{0};
        std::atomic<int> visitors{0};
        std::vector<Run> runs;
        std::mutex mutex;
        std::exception_ptr error;

        int64_t begin(size_t run) const {
            return count * static_cast<int64_t>(run) / static_cast<int64_t>(runs.size());
        }
        bool work(const std::function<void(int64_t)>& call, int64_t thread);
        bool visit(int64_t thread);
        /// Whether a visitor would find a piece that nobody has taken.
        bool hasPieces() const;
    };

    WorkTeam(int64_t items, int64_t threads);
    void takeItems(const std::function<void(Member&, int64_t)>& work, int64_t thread);
    void help(int64_t thread);
    void finishItem();
    void fail();

    const int64_t items_, crew_;
    std::atomic<int64_t> next_{0}, active_{0}, members_{0};
    std::vector<Shared> shared_;
    BriefWait idle_;    ///< of helpers: for pieces, or for the end
    BriefWait owners_;  ///< of members: for the last visitor
    std::mutex mutex_;
    std::exception_ptr error_;
};

}  // namespace atlas::engine
