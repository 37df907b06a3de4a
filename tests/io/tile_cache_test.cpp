// SPDX-License-Identifier: Apache-2.0
#include "io/cache/tile_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace atlas::io {
namespace {

TilePtr tileOf(int side) {
    return std::make_shared<RgbaImage>(side, side);
}

TEST(TileCache, EvictsOldestWhenOverBudget) {
    TileCache cache(3 * 16 * 16 * 4);
    for (int i = 0; i < 3; ++i) cache.get({1, 0, i, 0}, [] { return tileOf(16); });
    cache.peek({1, 0, 0, 0});  // now the latest used
    cache.get({1, 0, 9, 0}, [] { return tileOf(16); });
    EXPECT_NE(cache.peek({1, 0, 0, 0}), nullptr);
    EXPECT_EQ(cache.peek({1, 0, 1, 0}), nullptr);
    EXPECT_LE(cache.bytes(), cache.budgetBytes());
}

TEST(TileCache, LoadsATileOnceForAllWhoAsk) {
    TileCache cache(1 << 20);
    std::atomic<int> loads{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            cache.get({1, 0, 0, 0}, [&] {
                ++loads;
                std::this_thread::sleep_for(std::chrono::milliseconds(30));
                return tileOf(8);
            });
        });
    threads.clear();
    EXPECT_EQ(loads, 1);
}

TEST(TileCache, DoesNotKeepAFailedLoad) {
    TileCache cache(1 << 20);
    EXPECT_THROW(cache.get({1, 0, 0, 0}, []() -> TilePtr { throw ReadError("x"); }), ReadError);
    EXPECT_NE(cache.get({1, 0, 0, 0}, [] { return tileOf(8); }), nullptr);
}

TEST(TileCache, DropForgetsOneSourceAlone) {
    TileCache cache(1 << 20);
    cache.get({1, 0, 0, 0}, [] { return tileOf(8); });
    cache.get({2, 0, 0, 0}, [] { return tileOf(8); });
    cache.drop(1);
    EXPECT_EQ(cache.peek({1, 0, 0, 0}), nullptr);
    EXPECT_NE(cache.peek({2, 0, 0, 0}), nullptr);
    EXPECT_EQ(cache.bytes(), 8u * 8 * 4);
}

}  // namespace
}  // namespace atlas::io
