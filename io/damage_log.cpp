// SPDX-License-Identifier: Apache-2.0
#include "io/damage_log.h"

namespace atlas::io {
namespace {

constexpr std::chrono::seconds kTriedAgainAfter{5};

struct Cells {
    int64_t left, top, right, bottom;  ///< the last ones are part of it
};

Cells cellsOf(const Level& grid, const Rect& rect) {
    return {rect.x / grid.tileWidth, rect.y / grid.tileHeight, (rect.right() - 1) / grid.tileWidth,
            (rect.bottom() - 1) / grid.tileHeight};
}

/// Length of the first piece of [start, start + length).
int64_t firstPiece(int64_t start, int64_t length, int64_t tile) {
    const int64_t middle = start + length / 2;
    const int64_t aligned = (middle + tile / 2) / tile * tile;
    return aligned > start && aligned < start + length ? aligned - start : length / 2;
}

}  // namespace

void DamageLog::add(int level, const Level& grid, const Rect& rect, const std::string& cause) {
    const Cells cells = cellsOf(grid, rect);
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    for (int64_t row = cells.top; row <= cells.bottom; ++row)
        for (int64_t column = cells.left; column <= cells.right; ++column)
            parts_[{level, column, row}] = now;
    cause_ = cause;
}

bool DamageLog::failedLately(int level, const Level& grid, const Rect& rect) const {
    const std::lock_guard lock(mutex_);
    if (parts_.empty()) return false;
    const Cells cells = cellsOf(grid, rect);
    const auto recent = Clock::now() - kTriedAgainAfter;
    for (int64_t row = cells.top; row <= cells.bottom; ++row)
        for (int64_t column = cells.left; column <= cells.right; ++column) {
            const auto found = parts_.find({level, column, row});
            if (found == parts_.end() || found->second < recent) return false;
        }
    return true;
}

int64_t DamageLog::count() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(parts_.size());
}

std::vector<std::string> DamageLog::sentences() const {
    const std::lock_guard lock(mutex_);
    if (parts_.empty()) return {};
    return {(parts_.size() == 1
                 ? std::string("1 part of the file cannot be read: ")
                 : std::to_string(parts_.size()) + " parts of the file cannot be read: ") +
            cause_};
}

std::array<Rect, 2> cutAlongGrid(const Level& grid, const Rect& rect) {
    // The side with more of the grid's parts first, so that narrow strips are told apart.
    const Cells cells = cellsOf(grid, rect);
    const int64_t across = cells.right - cells.left, down = cells.bottom - cells.top;
    const bool wide = across != down ? across > down : rect.width >= rect.height;
    Rect a = rect, b = rect;
    if (wide) {
        a.width = firstPiece(rect.x, rect.width, grid.tileWidth);
        b.x += a.width;
        b.width -= a.width;
    } else {
        a.height = firstPiece(rect.y, rect.height, grid.tileHeight);
        b.y += a.height;
        b.height -= a.height;
    }
    return {a, b};
}

bool insideOnePart(const Level& grid, const Rect& rect) {
    const Cells cells = cellsOf(grid, rect);
    return cells.left == cells.right && cells.top == cells.bottom;
}

}  // namespace atlas::io
