// SPDX-License-Identifier: Apache-2.0
// Some consecutive rows of a map [height, width, channels], with a border of zeros around the map.
#pragma once

#include <algorithm>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {

class RowBuffer {
  public:
    /// For a map of `width` pixels of `channels` floats; rows of whole tiles of `tile` pixels.
    void start(int64_t width, int64_t channels, int64_t tile, int64_t firstRow) {
        const int64_t rowFloats = ((width + tile - 1) / tile * tile + 2) * channels;
        if (rowFloats != rowFloats_ || width != width_ || channels != channels_) {
            rowFloats_ = rowFloats;
            width_ = width;
            channels_ = channels;
            memory_ = AlignedFloats();
            capacity_ = 0;
        }
        first_ = firstRow;
        end_ = firstRow;
    }

    int64_t end() const { return end_; }
    int64_t rowFloats() const { return rowFloats_; }

    /// Pixel (row, column) of a row that is held; column -1 is the border.
    float* at(int64_t row, int64_t column) {
        return memory_.data() + (row - first_) * rowFloats_ + (column + 1) * channels_;
    }

    /// Makes room for rows up to `end`; new ones hold old values inside and zeros at the border.
    void extend(int64_t end) {
        reserve(end - first_);
        end_ = std::max(end_, end);
    }

    /// Appends rows of zeros up to `end`.
    void extendWithZeros(int64_t end) {
        const int64_t from = end_;
        extend(end);
        if (end_ > from)
            std::memset(memory_.data() + (from - first_) * rowFloats_, 0,
                        static_cast<size_t>((end_ - from) * rowFloats_) * sizeof(float));
    }

    /// Forgets the rows above `row`.
    void drop(int64_t row) {
        const int64_t gone = std::min(row, end_) - first_;
        if (gone <= 0) return;
        std::memmove(memory_.data(), memory_.data() + gone * rowFloats_,
                     static_cast<size_t>((end_ - first_ - gone) * rowFloats_) * sizeof(float));
        first_ += gone;
    }

  private:
    void reserve(int64_t rows) {
        if (rows <= capacity_) return;
        AlignedFloats larger(rows * rowFloats_);
        if (end_ > first_)
            std::memcpy(larger.data(), memory_.data(),
                        static_cast<size_t>((end_ - first_) * rowFloats_) * sizeof(float));
        memory_ = std::move(larger);
        capacity_ = rows;
    }

    AlignedFloats memory_;
    int64_t capacity_ = 0, rowFloats_ = 0, width_ = 0, channels_ = 0;
    int64_t first_ = 0, end_ = 0;
};

}  // namespace atlas::engine
