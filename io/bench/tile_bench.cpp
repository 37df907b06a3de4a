// SPDX-License-Identifier: Apache-2.0
#include "io/bench/tile_bench.h"

#include <openslide.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "io/reader_registry.h"
#include "io/tiff/direct_tiff.h"

namespace atlas::io {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds that `threads` take for `count` pieces of work.
double timeOf(int threads, int64_t count, const std::function<void(int64_t)>& work) {
    std::atomic<int64_t> next = 0;
    const auto start = Clock::now();
    {
        std::vector<std::jthread> workers;
        for (int t = 0; t < threads; ++t)
            workers.emplace_back([&] {
                for (int64_t i = next++; i < count; i = next++) work(i);
            });
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

std::vector<TileTiming> timeTiles(const std::string& path, double seconds) {
    const auto image = openImage(path);
    const Level& level = image->info().levels[0];
    const auto direct = DirectTiff::open(path, {level});
    if (!direct)
        throw ReadError(path + ": is no tiled TIFF with JPEG or JPEG 2000: nothing to compare");
    const int64_t columns = level.width / level.tileWidth, rows = level.height / level.tileHeight;
    const int64_t count = columns * rows;  // whole tiles
    std::vector<TileTiming> timings;
    for (int threads : {1, 2}) {
        std::vector<double> mine, theirs;
        const auto start = Clock::now();
        while (mine.size() < 3 ||
               std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
            const std::unique_ptr<openslide_t, void (*)(openslide_t*)> slide(
                openslide_open(path.c_str()), openslide_close);  // anew: an empty cache
            if (!slide) throw ReadError(path + ": OpenSlide cannot open it");
            theirs.push_back(timeOf(threads, count, [&](int64_t i) {
                thread_local std::vector<uint32_t> argb;
                argb.resize(static_cast<size_t>(level.tileWidth) *
                            static_cast<size_t>(level.tileHeight));
                openslide_read_region(slide.get(), argb.data(), i % columns * level.tileWidth,
                                      i / columns * level.tileHeight, 0, level.tileWidth,
                                      level.tileHeight);
            }));
            std::atomic<int64_t> failed = 0;
            mine.push_back(timeOf(threads, count, [&](int64_t i) {
                if (!direct->decode(0, i % columns, i / columns)) ++failed;
            }));
            if (failed) throw ReadError(path + ": a tile cannot be decoded");
        }
        timings.push_back({threads, count, static_cast<double>(count) / median(mine),
                           static_cast<double>(count) / median(theirs)});
    }
    return timings;
}

}  // namespace atlas::io
