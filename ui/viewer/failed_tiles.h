// SPDX-License-Identifier: Apache-2.0
// Tiles that could not be read, and when each is asked for again: after 2 seconds, then after twice
// as long each time, at most a minute. A network or a disk that comes back shows its image whole.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "ui/viewer/tile_loader.h"

namespace atlas::ui {

class FailedTiles {
  public:
    using Clock = std::chrono::steady_clock;

    /// How long until the tile is asked for again; `first` is set where it had not failed before.
    Clock::duration add(const TileId& id, Clock::time_point now, bool& first) {
        auto [entry, isNew] = tiles_.try_emplace(id);
        first = isNew;
        entry->second.delay = isNew ? kFirst : std::min(2 * entry->second.delay, kLast);
        entry->second.due = now + entry->second.delay;
        return entry->second.delay;
    }
    bool isHeldBack(const TileId& id, Clock::time_point now) const {
        const auto entry = tiles_.find(id);
        return entry != tiles_.end() && now < entry->second.due;
    }
    void forget(const TileId& id) { tiles_.erase(id); }
    void clear() { tiles_.clear(); }

  private:
    static constexpr Clock::duration kFirst = std::chrono::seconds(2),
                                     kLast = std::chrono::seconds(60);
    struct Entry {
        Clock::duration delay{};
        Clock::time_point due{};
    };
    std::map<TileId, Entry> tiles_;
};

}  // namespace atlas::ui
