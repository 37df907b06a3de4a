// SPDX-License-Identifier: Apache-2.0
#include "io/value_source.h"

#include <algorithm>
#include <cmath>

namespace atlas::io {
namespace {

constexpr int64_t kMostValuesAtOnce = int64_t{1} << 24;  // 64 MiB of floats
constexpr int64_t kLongestRow = int64_t{1} << 22;

/// Which samples of a line an output pixel is made of, and with which weights.
struct Part {
    int64_t first = 0;
    std::vector<double> weights;
};

/// `from` and `length`: the line, in samples; `count` output pixels share it evenly.
std::vector<Part> partsOf(double from, double length, int count) {
    std::vector<Part> parts(static_cast<size_t>(count));
    const double step = length / count;
    for (int i = 0; i < count; ++i) {
        Part& part = parts[static_cast<size_t>(i)];
        const double begin = from + i * step, end = begin + step;
        if (step < 1 - 1e-9) {  // enlarged: between the two nearest centres
            const double at = (begin + end) / 2 - 0.5, whole = std::floor(at);
            part.first = static_cast<int64_t>(whole);
            part.weights = {1 - (at - whole), at - whole};
            continue;
        }
        part.first = static_cast<int64_t>(std::floor(begin + 1e-9));
        for (double cell = static_cast<double>(part.first); cell < end - 1e-9; ++cell)
            part.weights.push_back(std::min(end, cell + 1) - std::max(begin, cell));
    }
    return parts;
}

bool isMissing(const Band& band, double value) {
    return std::isnan(value) ||
           (band.nodata && (value == *band.nodata ||
                            static_cast<float>(value) == static_cast<float>(*band.nodata)));
}

int levelFor(const ImageInfo& info, double downsample) {
    int best = 0;
    for (size_t i = 0; i < info.levels.size(); ++i)
        if (info.levels[i].downsample <= downsample * 1.001) best = static_cast<int>(i);
    return best;
}

/// Fills one output pixel from a block that begins at (left, top) of the level.
void meanOf(const RasterBlock& block, const ImageInfo& info, const std::vector<int>& bands,
            const Rect& at, const Part& across, const Part& down, bool physical, float* values,
            uint8_t& valid) {
    for (size_t b = 0; b < bands.size(); ++b) {
        const Band& band = info.bands[static_cast<size_t>(bands[b])];
        double sum = 0, weight = 0;
        for (size_t j = 0; j < down.weights.size(); ++j)
            for (size_t i = 0; i < across.weights.size(); ++i) {
                const auto x = static_cast<int>(across.first + static_cast<int64_t>(i) - at.x),
                           y = static_cast<int>(down.first + static_cast<int64_t>(j) - at.y);
                if (x < 0 || y < 0 || x >= block.width || y >= block.height ||
                    !block.valid[static_cast<size_t>(y) * static_cast<size_t>(block.width) +
                                 static_cast<size_t>(x)])
                    continue;
                const double value = block.sample(x, y, static_cast<int>(b));
                if (isMissing(band, value)) continue;
                const double share = across.weights[i] * down.weights[j];
                sum += share * value;
                weight += share;
            }
        if (!(weight > 0)) continue;
        valid = 1;
        const double mean = sum / weight;
        values[b] = static_cast<float>(physical ? mean * band.scale + band.offset : mean);
    }
}

}  // namespace

ValueBlock resampleValues(const ImageSource& source, const std::vector<int>& bands, double x,
                          double y, double w, double h, int width, int height, bool physical) {
    const auto& info = source.info();
    ValueBlock result;
    result.width = width;
    result.height = height;
    result.bands = static_cast<int>(bands.size());
    const auto pixels = static_cast<size_t>(width) * static_cast<size_t>(height);
    result.values.assign(pixels * bands.size(), 0);
    result.valid.assign(pixels, 0);
    const int level = levelFor(info, std::min(w / width, h / height));
    const double shrink = info.levels[static_cast<size_t>(level)].downsample;
    const auto across = partsOf(x / shrink, w / shrink, width),
               down = partsOf(y / shrink, h / shrink, height);
    const auto endOf = [](const Part& part) {
        return part.first + static_cast<int64_t>(part.weights.size());
    };
    const int64_t left = across.front().first, rowLength = endOf(across.back()) - left;
    if (rowLength > kLongestRow)
        throw ReadError(info.path + ": a context of " + std::to_string(rowLength) +
                        " pixels a side cannot be read");
    const int64_t rowsAtOnce =
        std::max<int64_t>(1, kMostValuesAtOnce / (rowLength * static_cast<int64_t>(bands.size())));
    for (int row = 0; row < height;) {
        // As many rows of the result as fit; one at least.
        int last = row + 1;
        const int64_t top = down[static_cast<size_t>(row)].first;
        while (last < height && endOf(down[static_cast<size_t>(last)]) - top <= rowsAtOnce) ++last;
        const Rect part{left, top, rowLength, endOf(down[static_cast<size_t>(last - 1)]) - top};
        const RasterBlock block = source.readRegion(level, part, bands);
        for (; row < last; ++row)
            for (int column = 0; column < width; ++column) {
                const auto at = static_cast<size_t>(row) * static_cast<size_t>(width) +
                                static_cast<size_t>(column);
                meanOf(block, info, bands, part, across[static_cast<size_t>(column)],
                       down[static_cast<size_t>(row)], physical, &result.values[at * bands.size()],
                       result.valid[at]);
            }
    }
    return result;
}

}  // namespace atlas::io
