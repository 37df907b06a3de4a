// SPDX-License-Identifier: Apache-2.0
// Reads the pixels of groups of contexts ahead of the network, in threads of its own. The order in
// which groups come follows what the user looks at; which contexts a group holds never changes.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/nn/classifier.h"

namespace atlas::engine {

/// Contexts first to last - 1 of the plan, which the network answers at once.
struct ContextGroup {
    size_t first = 0, last = 0;
};

struct ReadGroup {
    ContextGroup group;
    std::vector<ContextPixels> pixels;  ///< one a context
};

class GroupReader {
  public:
    using Read = std::function<ContextPixels(size_t context)>;
    /// How far a group is from what the user looks at; the nearest is read next. Any thread.
    using Distance = std::function<double(const ContextGroup&)>;

    GroupReader(std::vector<ContextGroup> groups, Read read, Distance distance);
    /// Stops its threads, at the end of the context that each is reading.
    ~GroupReader();

    /// The next group that is read; false at the end. Throws what `read` threw.
    bool next(ReadGroup& group);

    /// For how long next() waited in all.
    double secondsWaited() const { return waited_; }

  private:
    void work(const std::stop_token& end);
    ContextGroup takeNearest();

    Read read_;
    Distance distance_;
    std::mutex mutex_;  ///< guards what follows
    std::condition_variable_any changed_;
    std::vector<ContextGroup> waiting_;
    std::deque<ReadGroup> ready_;
    size_t inFlight_ = 0;
    std::exception_ptr failure_;
    double waited_ = 0;
    std::vector<std::jthread> threads_;
};

}  // namespace atlas::engine
