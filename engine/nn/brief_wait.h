// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace atlas::engine {

/// A wait for another thread that is nearly always short. It spins for a moment, so that a thread
/// which comes soon is met at once, and then sleeps: a waiting thread that goes on spinning, or
/// that yields, uses up the share of the processor which the system will not give it a moment
/// later, when there is work and other programs want to run too.
class BriefWait {
  public:
    /// Returns when ready() is true. Whoever makes it true calls wake() afterwards. ready() reads
    /// atomics in sequentially consistent order, and may be called often.
    template <typename Ready>
    void until(const Ready& ready) {
        const auto end = std::chrono::steady_clock::now() + kSpin;
        do {
            if (ready()) return;
            pause();
        } while (std::chrono::steady_clock::now() < end);
        // Counted before it looks again, and wake() looks after the change: one sees the other.
        ++sleepers_;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, ready);
        }
        --sleepers_;
    }

    /// After a change that someone may wait for. Costs nothing where nobody sleeps.
    void wake() {
        if (sleepers_ == 0) return;
        { const std::lock_guard lock(mutex_); }
        changed_.notify_all();
    }

  private:
    static constexpr std::chrono::microseconds kSpin{30};

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }

    std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

}  // namespace atlas::engine
