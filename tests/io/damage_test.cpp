// SPDX-License-Identifier: Apache-2.0
// What of a file could not be read: counted once, and never a reason to wait.
#include <cpl_vsi.h>
#include <gdal.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <thread>

#include "io/damage_log.h"
#include "io/reader_registry.h"
#include "tests/support/test_data.h"

namespace atlas::io {
namespace {

using namespace std::chrono_literals;

std::string dataFile(const char* name) {
    return (test::dataRoot() / "data" / name).string();
}

/// Reads the whole of a level in squares of `side` pixels.
void readAll(const ImageSource& source, int level, int64_t side) {
    const auto& size = source.info().levels[static_cast<size_t>(level)];
    for (int64_t y = 0; y < size.height; y += side)
        for (int64_t x = 0; x < size.width; x += side)
            source.readRegion(
                level, {x, y, std::min(side, size.width - x), std::min(side, size.height - y)},
                {0, 1, 2});
}

TEST(Damage, CountsTheTilesOfASlideOnce) {
    const std::string path = dataFile("corrupt/cmu-3-dead-tiles.svs");
    ATLAS_REQUIRE_DATA(path);
    for (bool direct : {true, false}) {
        const auto source = openImage(path, {.direct = direct});
        EXPECT_EQ(source->unreadableParts(), 0);
        for (int64_t side : {256, 256, 500, 3000}) readAll(*source, 0, side);
        EXPECT_EQ(source->unreadableParts(), 3);
        ASSERT_EQ(source->damage().size(), 1u);
        EXPECT_EQ(source->damage()[0].find("3 parts of the file cannot be read: "), 0u);
    }
}

TEST(Damage, CountsTheBlocksOfARasterOnce) {
    const std::string path = dataFile("corrupt/corrupt_cog.tif");
    ATLAS_REQUIRE_DATA(path);
    const auto source = openImage(path);
    for (int64_t side : {256, 100, 1024}) readAll(*source, 0, side);
    EXPECT_EQ(source->unreadableParts(), 1);  // one block of 512 px, whatever is asked of it
    ASSERT_EQ(source->damage().size(), 1u);
    EXPECT_EQ(source->damage()[0].find("1 part of the file cannot be read: "), 0u);
    const auto block = source->readRegion(0, {0, 0, 1024, 1024}, {0, 1, 2});
    EXPECT_EQ(block.valid[size_t{700} * 1024 + 700], 0);
    EXPECT_EQ(block.valid[size_t{500} * 1024 + 500], 1);
}

TEST(Damage, CutsAlongTheFilesOwnParts) {
    const Level strips{1000, 600, 1, 1000, 8};
    const auto [a, b] = cutAlongGrid(strips, {0, 0, 256, 20});
    EXPECT_EQ(a, (Rect{0, 0, 256, 8}));
    EXPECT_EQ(b, (Rect{0, 8, 256, 12}));
    EXPECT_TRUE(insideOnePart(strips, {0, 8, 256, 8}));
    EXPECT_FALSE(insideOnePart(strips, {0, 8, 256, 9}));
    DamageLog log;
    log.add(0, strips, {0, 8, 256, 9}, "gone");
    log.add(0, strips, {900, 10, 20, 2}, "gone");
    log.add(1, strips, {900, 10, 20, 2}, "gone");
    EXPECT_EQ(log.count(), 3);
    EXPECT_TRUE(log.failedLately(0, strips, {0, 8, 100, 16}));
    EXPECT_FALSE(log.failedLately(0, strips, {0, 7, 100, 2}));
}

/// A file system of one file whose openings and readings can be made to wait, and openings to fail.
struct SlowFile {
    std::string bytes;
    std::atomic<bool> holdReads{false}, holdOpens{false}, refuse{false};
    std::atomic<int> reading{0}, opening{0};
    struct Handle {
        SlowFile* file;
        vsi_l_offset at = 0;
        bool end = false;
    };

    void install() {
        auto* calls = VSIAllocFilesystemPluginCallbacksStruct();
        calls->pUserData = this;
        calls->stat = [](void* user, const char*, VSIStatBufL* buffer, int) {
            std::memset(buffer, 0, sizeof *buffer);
            buffer->st_size = static_cast<off_t>(static_cast<SlowFile*>(user)->bytes.size());
            buffer->st_mode = S_IFREG;
            return 0;
        };
        calls->open = [](void* user, const char* name, const char*) -> void* {
            auto& file = *static_cast<SlowFile*>(user);
            if (!std::string(name).ends_with("slow.tif")) return nullptr;
            ++file.opening;
            while (file.holdOpens) std::this_thread::sleep_for(1ms);
            return file.refuse ? nullptr : new Handle{&file};
        };
        calls->tell = [](void* handle) { return static_cast<Handle*>(handle)->at; };
        calls->seek = [](void* handle, vsi_l_offset offset, int whence) {
            auto& h = *static_cast<Handle*>(handle);
            const auto size = static_cast<vsi_l_offset>(h.file->bytes.size());
            h.at = whence == SEEK_SET ? offset : (whence == SEEK_CUR ? h.at : size) + offset;
            h.end = false;
            return 0;
        };
        calls->read = [](void* handle, void* to, size_t size, size_t count) {
            auto& h = *static_cast<Handle*>(handle);
            ++h.file->reading;
            while (h.file->holdReads) std::this_thread::sleep_for(1ms);
            const size_t left = h.at < h.file->bytes.size() ? h.file->bytes.size() - h.at : 0;
            const size_t items = std::min(count, left / size);
            h.end = items < count;
            std::memcpy(to, h.file->bytes.data() + h.at, items * size);
            h.at += items * size;
            return items;
        };
        calls->eof = [](void* handle) { return static_cast<Handle*>(handle)->end ? 1 : 0; };
        calls->close = [](void* handle) {
            delete static_cast<Handle*>(handle);
            return 0;
        };
        VSIInstallPluginHandler("/vsislow/", calls);
        VSIFreeFilesystemPluginCallbacksStruct(calls);
    }
};

std::string noiseTiff() {
    GDALAllRegister();
    constexpr int kSide = 512;
    GDALDatasetH memory =
        GDALCreate(GDALGetDriverByName("MEM"), "", kSide, kSide, 1, GDT_Byte, nullptr);
    std::vector<uint8_t> pixels(size_t{kSide} * kSide);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7919 >> 5);
    EXPECT_EQ(GDALRasterIO(GDALGetRasterBand(memory, 1), GF_Write, 0, 0, kSide, kSide,
                           pixels.data(), kSide, kSide, GDT_Byte, 0, 0),
              CE_None);
    GDALClose(GDALCreateCopy(GDALGetDriverByName("GTiff"), "/vsimem/slow_source.tif", memory, 0,
                             nullptr, nullptr, nullptr));
    GDALClose(memory);
    vsi_l_offset size = 0;
    const GByte* bytes = VSIGetMemFileBuffer("/vsimem/slow_source.tif", &size, FALSE);
    std::string text(reinterpret_cast<const char*>(bytes), size);
    VSIUnlink("/vsimem/slow_source.tif");
    return text;
}

TEST(GdalReader, AFailedOpeningLetsTheNextOneTry) {
    static SlowFile file;  // GDAL keeps the handler for good
    file.bytes = noiseTiff();
    file.install();
    const auto source = openImage("/vsislow/slow.tif");
    const auto readIt = [&] { source->readRegion(0, {0, 0, 64, 64}, {0}); };
    const auto until = [](const std::atomic<int>& counter, int count) {
        for (int i = 0; i < 5000 && counter < count; ++i) std::this_thread::sleep_for(1ms);
        return counter >= count;
    };
    file.reading = file.opening = 0;
    file.holdReads = file.holdOpens = true;
    auto first = std::async(std::launch::async, readIt);  // has the only open dataset
    ASSERT_TRUE(until(file.reading, 1));
    std::vector<std::future<void>> failing;  // take the three places that are left
    for (int i = 0; i < 3; ++i) failing.push_back(std::async(std::launch::async, readIt));
    ASSERT_TRUE(until(file.opening, 3));
    auto waiting = std::async(std::launch::async, readIt);
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(file.opening, 3);
    file.refuse = true;
    file.holdOpens = false;
    EXPECT_EQ(waiting.wait_for(5s), std::future_status::ready)
        << "it still waits although places are free";
    file.holdReads = false;
    for (auto& one : failing) EXPECT_THROW(one.get(), ReadError);
    EXPECT_NO_THROW(first.get());
    try {
        waiting.get();
    } catch (const ReadError&) {  // its own opening was refused
    }
}

}  // namespace
}  // namespace atlas::io
