// SPDX-License-Identifier: Apache-2.0
#include "io/image_source.h"

#include <algorithm>

namespace atlas::io {
namespace {
constexpr int64_t kMaxRegionPixels = int64_t{1} << 28;
}

Rect intersect(const Rect& a, const Rect& b) {
    const int64_t x = std::max(a.x, b.x), y = std::max(a.y, b.y);
    return {x, y, std::max<int64_t>(0, std::min(a.right(), b.right()) - x),
            std::max<int64_t>(0, std::min(a.bottom(), b.bottom()) - y)};
}

const char* sampleTypeName(SampleType type) {
    switch (type) {
        case SampleType::UInt8:
            return "uint8";
        case SampleType::UInt16:
            return "uint16";
        case SampleType::Int16:
            return "int16";
        case SampleType::UInt32:
            return "uint32";
        case SampleType::Int32:
            return "int32";
        case SampleType::Float32:
            return "float32";
        case SampleType::Float64:
            return "float64";
        case SampleType::Other:
            break;
    }
    return "other";
}

std::array<double, 2> GeoReference::mapFromPixel(double x, double y) const {
    return {transform[0] + x * transform[1] + y * transform[2],
            transform[3] + x * transform[4] + y * transform[5]};
}

RasterBlock::RasterBlock(int w, int h, int b, bool real)
    : width(w), height(h), bands(b), isFloat(real), valid(static_cast<size_t>(w) * h) {
    if (real)
        f32.resize(valid.size() * b);
    else
        u8.resize(valid.size() * b);
}

bool ImageSource::readColor(int, const Rect&, RgbaImage&) const {
    return false;
}

RgbaImage ImageSource::associatedImage(const std::string& name) const {
    throw ReadError(info().path + ": there is no associated image \"" + name + "\"");
}

void ImageSource::checkRequest(int level, const Rect& rect, const std::vector<int>& bands) const {
    const auto fail = [&](const std::string& cause) {
        throw ReadError(info().path + ": " + cause);
    };
    if (level < 0 || level >= levelCount()) fail("there is no level " + std::to_string(level));
    if (rect.empty() || rect.width > kMaxRegionPixels || rect.height > kMaxRegionPixels ||
        rect.width * rect.height > kMaxRegionPixels)
        fail("a region of " + std::to_string(rect.width) + " x " + std::to_string(rect.height) +
             " px cannot be read at once");
    if (bands.empty()) fail("no band was asked for");
    for (int band : bands)
        if (band < 0 || band >= static_cast<int>(info().bands.size()))
            fail("there is no band " + std::to_string(band + 1));
}

}  // namespace atlas::io
