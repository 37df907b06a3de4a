// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/whole_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <limits>
#include <numeric>

#include "engine/pipeline/foreground.h"

namespace atlas::engine {
namespace {

constexpr int64_t kTokenPx = 16;
constexpr int64_t kReadColumns = 1024;  // pixels of a strip that are read, or skipped, together
constexpr int64_t kReaders = 2;
constexpr int64_t kStemHalo = 7;  // tokens around the wanted ones whose pixels matter

/// Reads strips of the region at the model's resolution; parts that no token needs stay empty.
class StripReader {
  public:
    StripReader(const io::ColorSource& image, const RunPlan& plan,
                const std::vector<uint8_t>& tokenMask)
        : image_(image),
          plan_(plan),
          mask_(tokenMask),
          stepX_(static_cast<double>(plan.region.width) / static_cast<double>(plan.wholeWidthPx)),
          stepY_(static_cast<double>(plan.region.height) /
                 static_cast<double>(plan.wholeHeightPx)) {}

    void read(int64_t row, int64_t rows, int64_t column, int64_t columns, uint8_t* rgba) const {
        const int64_t parts = (columns + kReadColumns - 1) / kReadColumns;
        std::vector<std::future<void>> others;
        const auto some = [&](int64_t first) {
            for (int64_t p = first; p < parts; p += kReaders) {
                const int64_t from = p * kReadColumns,
                              count = std::min(kReadColumns, columns - from);
                readPart(row, rows, column + from, count, rgba + 4 * from, columns);
            }
        };
        for (int64_t i = 1; i < std::min(kReaders, parts); ++i)
            others.push_back(std::async(std::launch::async, some, i));
        some(0);
        for (auto& other : others) other.get();
    }

  private:
    void readPart(int64_t row, int64_t rows, int64_t column, int64_t columns, uint8_t* out,
                  int64_t outColumns) const {
        if (!isWanted(row, rows, column, columns)) {
            for (int64_t y = 0; y < rows; ++y)
                std::memset(out + 4 * y * outColumns, 0, static_cast<size_t>(4 * columns));
            return;
        }
        const io::RgbaImage part = image_.resample(
            static_cast<double>(plan_.region.x) + static_cast<double>(column) * stepX_,
            static_cast<double>(plan_.region.y) + static_cast<double>(row) * stepY_,
            static_cast<double>(columns) * stepX_, static_cast<double>(rows) * stepY_,
            static_cast<int>(columns), static_cast<int>(rows));
        for (int64_t y = 0; y < rows; ++y)
            std::memcpy(out + 4 * y * outColumns, part.rgba.data() + 4 * y * columns,
                        static_cast<size_t>(4 * columns));
    }

    bool isWanted(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
        if (mask_.empty()) return true;
        const int64_t height = (plan_.wholeHeightPx + kTokenPx - 1) / kTokenPx,
                      width = (plan_.wholeWidthPx + kTokenPx - 1) / kTokenPx;
        const int64_t y0 = std::max<int64_t>(0, row / kTokenPx - kStemHalo),
                      y1 = std::min(height, (row + rows) / kTokenPx + kStemHalo + 1),
                      x0 = std::max<int64_t>(0, column / kTokenPx - kStemHalo),
                      x1 = std::min(width, (column + columns) / kTokenPx + kStemHalo + 1);
        for (int64_t y = y0; y < y1; ++y)
            for (int64_t x = x0; x < x1; ++x)
                if (mask_[static_cast<size_t>(y * width + x)]) return true;
        return false;
    }

    const io::ColorSource& image_;
    const RunPlan& plan_;
    const std::vector<uint8_t>& mask_;
    double stepX_, stepY_;
};

/// 1 where a token touches the foreground; empty where all do.
std::vector<uint8_t> maskOf(const io::ColorSource& image, const RunPlan& plan,
                            const ForegroundMap& foreground) {
    const int64_t rows = (plan.wholeHeightPx + kTokenPx - 1) / kTokenPx,
                  columns = (plan.wholeWidthPx + kTokenPx - 1) / kTokenPx;
    const double w = static_cast<double>(kTokenPx * plan.region.width) /
                     static_cast<double>(plan.wholeWidthPx),
                 h = static_cast<double>(kTokenPx * plan.region.height) /
                     static_cast<double>(plan.wholeHeightPx);
    std::vector<uint8_t> mask(static_cast<size_t>(rows * columns));
    bool all = true;
    for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) {
            const bool inside =
                foreground.share(
                    image.info(), static_cast<double>(plan.region.x) + static_cast<double>(x) * w,
                    static_cast<double>(plan.region.y) + static_cast<double>(y) * h, w, h) > 0;
            mask[static_cast<size_t>(y * columns + x)] = inside;
            all = all && inside;
        }
    if (all) mask.clear();
    return mask;
}

/// A raster over the region: cells of `tokenPx` model pixels.
io::GridRaster rasterOf(const RunPlan& plan, const TokenGrid& grid, double tokenPx) {
    io::GridRaster raster(static_cast<int>(grid.columns), static_cast<int>(grid.rows), grid.bands);
    raster.x = static_cast<double>(plan.region.x);
    raster.y = static_cast<double>(plan.region.y);
    raster.cellWidth =
        tokenPx * static_cast<double>(plan.region.width) / static_cast<double>(plan.wholeWidthPx);
    raster.cellHeight =
        tokenPx * static_cast<double>(plan.region.height) / static_cast<double>(plan.wholeHeightPx);
    raster.values = grid.values;
    return raster;
}

/// One cell over the whole region.
io::GridRaster cellOf(const RunPlan& plan, const std::vector<float>& values) {
    io::GridRaster raster(1, 1, static_cast<int>(values.size()));
    raster.x = static_cast<double>(plan.region.x);
    raster.y = static_cast<double>(plan.region.y);
    raster.cellWidth = static_cast<double>(plan.region.width);
    raster.cellHeight = static_cast<double>(plan.region.height);
    raster.values = values;
    return raster;
}

/// At every place, the class that it speaks for most: contributions of all scales that the head
/// reads, summed over the finest of them.
io::GridRaster evidenceOf(const std::vector<io::GridRaster>& contributions) {
    const auto& finest = contributions[0];
    io::GridRaster evidence(finest.width, finest.height, 1);
    evidence.x = finest.x;
    evidence.y = finest.y;
    evidence.cellWidth = finest.cellWidth;
    evidence.cellHeight = finest.cellHeight;
    evidence.bandNames = {"class that the place speaks for most"};
    for (int row = 0; row < finest.height; ++row)
        for (int column = 0; column < finest.width; ++column) {
            evidence.at(0, column, row) = std::numeric_limits<float>::quiet_NaN();
            if (std::isnan(finest.at(0, column, row))) continue;
            std::vector<double> sums(static_cast<size_t>(finest.bands), 0);
            const double x = finest.x + (column + 0.5) * finest.cellWidth,
                         y = finest.y + (row + 0.5) * finest.cellHeight;
            for (const auto& map : contributions) {
                int i = 0, j = 0;
                if (!map.cellAt(x, y, i, j)) continue;
                // A coarse token's share, spread evenly over the finest cells that it covers.
                const double spread =
                    finest.cellWidth * finest.cellHeight / (map.cellWidth * map.cellHeight);
                for (int b = 0; b < map.bands; ++b)
                    if (const float v = map.at(b, i, j); !std::isnan(v))
                        sums[static_cast<size_t>(b)] += spread * v;
            }
            evidence.at(0, column, row) =
                static_cast<float>(std::max_element(sums.begin(), sums.end()) - sums.begin());
        }
    return evidence;
}

void warn(const WholeResult& result, const RunRecord& record, std::vector<std::string>& warnings) {
    if (result.scales > result.scalesWithWeights)
        warnings.push_back(
            "the image has " + std::to_string(result.scales) + " scales, the network weights for " +
            std::to_string(result.scalesWithWeights) +
            ": the coarser ones use those of its coarsest scale, which it was not trained for");
    if (record.request.mask && result.windowsSkipped > 0)
        warnings.push_back("background was left out: " +
                           std::to_string(static_cast<int>(100 * result.windowsSkipped + 0.5)) +
                           " % of the windows; the answer with it would differ");
}

}  // namespace

RunLayers classifyWholeImage(const io::ColorSource& image, const Classifier& classifier,
                             const std::filesystem::path& scratch, const std::string& key,
                             const WholeProgress& progress, RunRecord& record) {
    RunPlan& plan = record.plan;
    WholeImage whole;
    whole.height = plan.wholeHeightPx;
    whole.width = plan.wholeWidthPx;
    if (record.request.mask) {
        const ForegroundMap foreground = findForeground(image, record.request.resolutionUm);
        whole.tokenMask = maskOf(image, plan, foreground);
        plan.mask = foreground.rule;
    }
    if (!whole.tokenMask.empty() &&
        std::find(whole.tokenMask.begin(), whole.tokenMask.end(), 1) == whole.tokenMask.end())
        throw std::runtime_error(image.info().path +
                                 ": no tissue or data was found; --no-mask takes everything");
    const StripReader reader(image, plan, whole.tokenMask);
    whole.pixels = [&](int64_t row, int64_t rows, int64_t column, int64_t columns, uint8_t* rgba) {
        reader.read(row, rows, column, columns, rgba);
    };
    WholeOptions options;
    options.attention = record.request.attention;
    options.memoryBytes = record.request.memoryBytes;
    options.scratch = scratch;
    options.key = key;
    const WholeResult result = classifier.classifyWhole(whole, options, progress);

    const auto tokenPx = [&](int scale) {
        return static_cast<double>(kTokenPx) *
               std::pow(static_cast<double>(record.model.network.poolRatio), scale);
    };
    RunLayers layers;
    layers.probabilities = cellOf(plan, result.probabilities);
    layers.probabilities.bandNames = record.model.classNames;
    layers.classes = cellOf(plan, {static_cast<float>(std::max_element(result.probabilities.begin(),
                                                                       result.probabilities.end()) -
                                                      result.probabilities.begin())});
    layers.classes.bandNames = {"class"};
    for (const auto& grid : result.received) {
        layers.attention.push_back(rasterOf(plan, grid, tokenPx(grid.scale)));
        layers.attention.back().bandNames = {"attention received, multiples of an even share"};
    }
    if (!result.mass.values.empty()) {
        layers.mass = rasterOf(plan, result.mass, tokenPx(0));
        for (int k = 0; k < result.mass.bands; ++k)
            layers.mass.bandNames.push_back("share of attention on scale " + std::to_string(k));
    }
    for (const auto& grid : result.contributions) {
        layers.contributions.push_back(rasterOf(plan, grid, tokenPx(grid.scale)));
        layers.contributions.back().bandNames = record.model.classNames;
        layers.contributionScales.push_back(grid.scale);
    }
    layers.evidence = evidenceOf(layers.contributions);
    record.rows.push_back({plan.contexts[0], result.probabilities, result.meanMass});
    for (int k = 0; k < result.scales; ++k)
        record.tokenSidesPx.push_back(static_cast<int64_t>(tokenPx(k)));
    record.warnings.insert(record.warnings.end(), result.notes.begin(), result.notes.end());
    warn(result, record, record.warnings);
    const double scratchPerBlock =
        static_cast<double>(result.scratchTraffic) / static_cast<double>(result.tokenBytes);
    record.whole = {
        result.logits,           result.baseline,   result.scales,   result.scalesWithWeights,
        result.windowsSkipped,   result.tokenBytes, scratchPerBlock, result.usedScratchFile,
        !whole.tokenMask.empty()};
    return layers;
}

}  // namespace atlas::engine
