// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace atlas::engine {

/// Floats on a cache-line boundary, zero at first.
class AlignedFloats {
  public:
    AlignedFloats() = default;
    explicit AlignedFloats(int64_t count)
        : data_(static_cast<float*>(
              ::operator new(static_cast<size_t>(count) * sizeof(float), kAlignment))),
          count_(count) {
        std::memset(data_.get(), 0, static_cast<size_t>(count) * sizeof(float));
    }
    float* data() { return data_.get(); }
    const float* data() const { return data_.get(); }
    int64_t count() const { return count_; }
    /// Contents are lost where it grows.
    void atLeast(int64_t count) {
        if (count > count_) *this = AlignedFloats(count);
    }

  private:
    static constexpr std::align_val_t kAlignment{64};
    struct Free {
        void operator()(float* p) const { ::operator delete(p, kAlignment); }
    };
    std::unique_ptr<float, Free> data_;
    int64_t count_ = 0;
};

/// Memory of the calling thread that lives on; one user at a time.
inline float* threadScratch(int64_t floats) {
    thread_local AlignedFloats scratch;
    scratch.atLeast(floats);
    return scratch.data();
}

}  // namespace atlas::engine
