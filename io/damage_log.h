// SPDX-License-Identifier: Apache-2.0
// Which parts of a file could not be read, each counted once however often it is asked for.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

/// Parts are the tiles, strips or blocks that a file is stored in, level by level. Thread-safe.
class DamageLog {
  public:
    /// Notes every part of the level's grid that `rect`, which lies inside the level, touches.
    void add(int level, const Level& grid, const Rect& rect, const std::string& cause);
    /// Did every part that `rect` touches fail within the last seconds? Then it need not be tried
    /// again at once; later it is, since a server or a disk may have recovered.
    bool failedLately(int level, const Level& grid, const Rect& rect) const;

    int64_t count() const;
    /// As ImageSource::damage().
    std::vector<std::string> sentences() const;

  private:
    mutable std::mutex mutex_;
    using Clock = std::chrono::steady_clock;
    std::map<std::array<int64_t, 3>, Clock::time_point> parts_;  ///< level, column, row; last tried
    std::string cause_;                                          ///< of the latest
};

/// Where to cut a rectangle that could not be read as a whole: along the level's grid while a line
/// of it lies inside, else in halves. The rectangle is wider or higher than one pixel.
std::array<Rect, 2> cutAlongGrid(const Level& grid, const Rect& rect);

/// Does the rectangle lie in one part of the level's grid?
bool insideOnePart(const Level& grid, const Rect& rect);

}  // namespace atlas::io
