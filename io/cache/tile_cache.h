// SPDX-License-Identifier: Apache-2.0
// Decoded tiles, bounded by bytes, shared by viewer and engine. Two asks for one tile share one
// load. Thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "io/image_source.h"

namespace atlas::io {

struct TileKey {
    uint64_t source = 0;  ///< number of an open image and its display settings
    int level = 0;
    int64_t column = 0, row = 0;
    auto operator<=>(const TileKey&) const = default;
};

using TilePtr = std::shared_ptr<const RgbaImage>;

class TileCache {
  public:
    using Loader = std::function<TilePtr()>;

    explicit TileCache(size_t budgetBytes) : budgetBytes_(budgetBytes) {}

    /// The tile, loaded by `load` in this thread unless it is there or on its way. Rethrows what
    /// `load` throws to everybody who waits; a failed load is not kept.
    TilePtr get(const TileKey& key, const Loader& load);

    /// The tile if it is there; never waits.
    TilePtr peek(const TileKey& key);

    /// Forgets the tiles of one source.
    void drop(uint64_t source);

    size_t bytes() const;
    size_t budgetBytes() const;
    /// Lets go of what is too much at once.
    void setBudget(size_t bytes);

    /// A number that no other source has.
    static uint64_t newSource();

  private:
    struct Entry {
        TilePtr tile;
        std::list<TileKey>::iterator place;
    };
    void insert(const TileKey& key, const TilePtr& tile);
    void shrink();

    // Invariant: bytes_ is the sum over entries_; order_ holds each key once, latest used first.
    mutable std::mutex mutex_;
    std::map<TileKey, Entry> entries_;
    std::list<TileKey> order_;
    std::map<TileKey, std::shared_future<TilePtr>> loading_;
    size_t budgetBytes_;
    size_t bytes_ = 0;
};

}  // namespace atlas::io
