// SPDX-License-Identifier: Apache-2.0
#include "io/tiff/tiff_resolution.h"

#include <cmath>
#include <fstream>
#include <limits>

namespace atlas::io {
namespace {

constexpr uint64_t kXResolution = 282, kYResolution = 283, kRational = 5;

/// Whole numbers of a file, the lowest byte first.
class Numbers {
  public:
    explicit Numbers(const std::filesystem::path& path)
        : stream_(path, std::ios::binary | std::ios::in | std::ios::out) {}
    explicit operator bool() const { return static_cast<bool>(stream_); }
    void go(uint64_t offset) { stream_.seekg(static_cast<std::streamoff>(offset)); }
    uint64_t read(int bytes) {
        uint64_t value = 0;
        for (int i = 0; i < bytes; ++i) {
            const int byte = stream_.get();
            if (byte < 0) return 0;
            value |= static_cast<uint64_t>(byte) << (8 * i);
        }
        return value;
    }
    uint64_t at() { return static_cast<uint64_t>(stream_.tellg()); }
    void write(uint64_t offset, const std::array<uint32_t, 2>& values) {
        stream_.seekp(static_cast<std::streamoff>(offset));
        for (uint32_t value : values)
            for (int i = 0; i < 4; ++i) stream_.put(static_cast<char>(value >> (8 * i) & 255));
    }

  private:
    std::fstream stream_;
};

}  // namespace

std::array<uint32_t, 2> simplestFraction(double value) {
    constexpr double kMost = std::numeric_limits<uint32_t>::max();
    if (!(value > 0)) return {0, 1};
    if (value >= kMost) return {std::numeric_limits<uint32_t>::max(), 1};
    // Continued fraction: each step's p / q is nearer to the value.
    double p = 1, q = 0, before = 0, below = 1, rest = value;
    for (int i = 0; i < 64; ++i) {
        const double whole = std::floor(rest);
        const double nextP = whole * p + before, nextQ = whole * q + below;
        if (nextP > kMost || nextQ > kMost) break;
        before = p;
        below = q;
        p = nextP;
        q = nextQ;
        if (std::abs(p / q - value) <= 1e-12 * value || rest == whole) break;
        rest = 1 / (rest - whole);
    }
    if (p < 1) return {1, std::numeric_limits<uint32_t>::max()};
    return {static_cast<uint32_t>(p), static_cast<uint32_t>(q)};
}

void setExactResolution(const std::filesystem::path& path, double perUnitX, double perUnitY) {
    Numbers file(path);
    if (!file || file.read(2) != 0x4949) return;
    const uint64_t version = file.read(2);
    if (version != 42 && version != 43) return;
    const bool big = version == 43;
    if (big) file.read(4);  // bytes of an offset, and zeros
    file.go(file.read(big ? 8 : 4));
    const uint64_t count = file.read(big ? 8 : 2);
    for (uint64_t i = 0; i < count && i < 65536 && file; ++i) {
        const uint64_t tag = file.read(2), type = file.read(2);
        file.read(big ? 8 : 4);
        const uint64_t entry = file.at(), value = file.read(big ? 8 : 4);
        if ((tag != kXResolution && tag != kYResolution) || type != kRational) continue;
        const uint64_t next = file.at();
        // A BigTIFF has the fraction in the entry itself.
        file.write(big ? entry : value,
                   simplestFraction(tag == kXResolution ? perUnitX : perUnitY));
        file.go(next);
    }
}

}  // namespace atlas::io
