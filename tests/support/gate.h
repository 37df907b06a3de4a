// SPDX-License-Identifier: Apache-2.0
// Stands where the window's work goes on outside the GUI thread: tells which thread did what, and
// holds one kind of work back until a test lets it go on.
#pragma once

#include <QString>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace atlas::test {

class Gate {
  public:
    /// Work of this name stops here from now on ("load", or "load.done": its answer is ready).
    void hold(const QString& name) {
        const std::lock_guard lock(mutex_);
        held_ = name;
        arrived_ = false;
    }
    void release() {
        const std::lock_guard lock(mutex_);
        held_.clear();
        changed_.notify_all();
    }
    /// Whether held work has come.
    bool arrived() const {
        const std::lock_guard lock(mutex_);
        return arrived_;
    }
    int count(const QString& name) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name);
        return found == seen_.end() ? 0 : found->second;
    }
    /// Whether any work went on in this thread.
    bool saw(std::thread::id thread) const {
        const std::lock_guard lock(mutex_);
        return threads_.contains(thread);
    }

    void pass(const QString& name) {
        std::unique_lock lock(mutex_);
        ++seen_[name];
        threads_[std::this_thread::get_id()] = name;
        if (name != held_) return;
        arrived_ = true;
        changed_.wait(lock, [&] { return name != held_; });
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    QString held_;
    bool arrived_ = false;
    std::map<QString, int> seen_;
    std::map<std::thread::id, QString> threads_;
};

}  // namespace atlas::test
