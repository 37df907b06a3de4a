// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/group_reader.h"

#include <algorithm>
#include <chrono>

namespace atlas::engine {
namespace {

constexpr size_t kThreads = 2;
constexpr size_t kGroupsAhead = 2;

}  // namespace

GroupReader::GroupReader(std::vector<ContextGroup> groups, Read read, Distance distance)
    : read_(std::move(read)), distance_(std::move(distance)), waiting_(std::move(groups)) {
    for (size_t i = 0; i < kThreads; ++i)
        threads_.emplace_back([this](const std::stop_token& end) { work(end); });
}

GroupReader::~GroupReader() {
    for (auto& thread : threads_) thread.request_stop();
    changed_.notify_all();
}

/// Holds the mutex.
ContextGroup GroupReader::takeNearest() {
    auto best = waiting_.begin();
    double least = distance_(*best);
    for (auto it = best + 1; it != waiting_.end(); ++it)
        if (const double distance = distance_(*it); distance < least) {
            least = distance;
            best = it;
        }
    const ContextGroup group = *best;
    waiting_.erase(best);
    return group;
}

void GroupReader::work(const std::stop_token& end) {
    for (;;) {
        ReadGroup read;
        {
            std::unique_lock lock(mutex_);
            if (!changed_.wait(lock, end, [&] { return ready_.size() < kGroupsAhead; })) return;
            if (waiting_.empty() || failure_) return;
            read.group = takeNearest();
            ++inFlight_;
        }
        std::exception_ptr failure;
        try {
            for (size_t i = read.group.first; i < read.group.last && !end.stop_requested(); ++i)
                read.pixels.push_back(read_(i));
        } catch (...) {
            failure = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        --inFlight_;
        if (failure)
            failure_ = failure;
        else if (!end.stop_requested())
            ready_.push_back(std::move(read));
        changed_.notify_all();
    }
}

bool GroupReader::next(ReadGroup& group) {
    std::unique_lock lock(mutex_);
    const auto from = std::chrono::steady_clock::now();
    changed_.wait(
        lock, [&] { return !ready_.empty() || failure_ || (waiting_.empty() && inFlight_ == 0); });
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    if (failure_) std::rethrow_exception(failure_);
    if (ready_.empty()) return false;
    group = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return true;
}

}  // namespace atlas::engine
