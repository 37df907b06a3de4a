// SPDX-License-Identifier: Apache-2.0
#include "io/cache/tile_cache.h"

#include <atomic>

namespace atlas::io {

TilePtr TileCache::get(const TileKey& key, const Loader& load) {
    std::promise<TilePtr> promise;
    {
        std::unique_lock lock(mutex_);
        if (const auto found = entries_.find(key); found != entries_.end()) {
            order_.splice(order_.begin(), order_, found->second.place);
            return found->second.tile;
        }
        if (const auto found = loading_.find(key); found != loading_.end()) {
            const auto future = found->second;
            lock.unlock();
            return future.get();
        }
        loading_[key] = promise.get_future().share();
    }
    try {
        const TilePtr tile = load();
        {
            const std::lock_guard lock(mutex_);
            loading_.erase(key);
            insert(key, tile);
        }
        promise.set_value(tile);
        return tile;
    } catch (...) {
        {
            const std::lock_guard lock(mutex_);
            loading_.erase(key);
        }
        promise.set_exception(std::current_exception());
        throw;
    }
}

TilePtr TileCache::peek(const TileKey& key) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second.place);
    return found->second.tile;
}

void TileCache::insert(const TileKey& key, const TilePtr& tile) {
    const size_t size = tile->rgba.size();
    if (size > budgetBytes_) return;
    order_.push_front(key);
    entries_[key] = {tile, order_.begin()};
    bytes_ += size;
    shrink();
}

void TileCache::shrink() {
    while (bytes_ > budgetBytes_) {
        const auto oldest = entries_.find(order_.back());
        bytes_ -= oldest->second.tile->rgba.size();
        entries_.erase(oldest);
        order_.pop_back();
    }
}

void TileCache::drop(uint64_t source) {
    const std::lock_guard lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
        if (it->first.source != source) {
            ++it;
            continue;
        }
        bytes_ -= it->second.tile->rgba.size();
        order_.erase(it->second.place);
        it = entries_.erase(it);
    }
}

void TileCache::setBudget(size_t bytes) {
    const std::lock_guard lock(mutex_);
    budgetBytes_ = bytes;
    shrink();
}

size_t TileCache::budgetBytes() const {
    const std::lock_guard lock(mutex_);
    return budgetBytes_;
}

size_t TileCache::bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
}

uint64_t TileCache::newSource() {
    static std::atomic<uint64_t> next{1};
    return next++;
}

}  // namespace atlas::io
