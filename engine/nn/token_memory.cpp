// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/token_memory.h"

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#define ATLAS_HAS_MMAP 1
#endif

namespace atlas::engine {

TokenMemory TokenMemory::inRam(int64_t floats) {
    TokenMemory memory;
    memory.ram_ = AlignedFloats(floats);
    memory.floats_ = floats;
    return memory;
}

TokenMemory& TokenMemory::operator=(TokenMemory&& other) noexcept {
    std::swap(ram_, other.ram_);
    std::swap(mapped_, other.mapped_);
    std::swap(floats_, other.floats_);
    return *this;
}

#if defined(ATLAS_HAS_MMAP)

namespace {
[[noreturn]] void fail(const std::filesystem::path& path, int code) {
    throw std::runtime_error(path.string() +
                             ": scratch file: " + std::generic_category().message(code));
}
}  // namespace

TokenMemory TokenMemory::inFile(const std::filesystem::path& path, int64_t floats) {
    const auto bytes = static_cast<size_t>(floats) * sizeof(float);
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) fail(path, errno);
    // The blocks are reserved now: a full disk is an error here, not a crash in the middle.
    const int full = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
    if (full != 0) {
        ::close(file);
        fail(path, full);
    }
    void* start = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    const int code = errno;
    ::close(file);
    if (start == MAP_FAILED) fail(path, code);
    TokenMemory memory;
    memory.mapped_ = static_cast<float*>(start);
    memory.floats_ = floats;
    return memory;
}

TokenMemory::~TokenMemory() {
    if (mapped_) ::munmap(mapped_, static_cast<size_t>(floats_) * sizeof(float));
}

void TokenMemory::release(int64_t from, int64_t to) {
    if (!mapped_ || to <= from) return;
    const auto page =
        static_cast<int64_t>(::sysconf(_SC_PAGESIZE)) / static_cast<int64_t>(sizeof(float));
    const int64_t first = from / page * page, last = to / page * page;
    if (last > first)
        ::madvise(mapped_ + first, static_cast<size_t>(last - first) * sizeof(float),
                  MADV_DONTNEED);
}

void TokenMemory::sync() {
    if (mapped_) ::msync(mapped_, static_cast<size_t>(floats_) * sizeof(float), MS_SYNC);
}

#else

TokenMemory TokenMemory::inFile(const std::filesystem::path& path, int64_t) {
    throw std::runtime_error(path.string() +
                             ": scratch files are not supported on this system yet; allow more "
                             "memory");
}
TokenMemory::~TokenMemory() = default;
void TokenMemory::release(int64_t, int64_t) {}
void TokenMemory::sync() {}

#endif

}  // namespace atlas::engine
