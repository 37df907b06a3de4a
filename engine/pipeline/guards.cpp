// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/guards.h"

#include <algorithm>
#include <cmath>

#include "io/numbers.h"

namespace atlas::engine {
namespace {

constexpr size_t kPixelStep = 4 * 37;  // every 37th pixel is enough for a mean
constexpr double kCoarser = 1.5, kDeviations = 1.5, kSame = 0.02, kEmpty = 0.5;
constexpr size_t kFewContexts = 8;

std::string percent(double share) {
    return io::formatFixed(100 * share, 0) + " %";
}

}  // namespace

void ColourStatistics::add(const ContextPixels& context) {
    for (size_t i = 0; i + 3 < context.rgba.size(); i += kPixelStep) {
        if (!context.rgba[i + 3]) continue;
        for (size_t c = 0; c < 3; ++c) sum_[c] += context.rgba[i + c] / 255.0;
        ++count_;
    }
}

std::array<double, 3> ColourStatistics::mean() const {
    std::array<double, 3> mean{};
    for (size_t c = 0; c < 3 && count_; ++c) mean[c] = sum_[c] / static_cast<double>(count_);
    return mean;
}

std::vector<std::string> guardWarnings(const RunRecord& record, const ColourStatistics& colours,
                                       double shareWithoutData) {
    std::vector<std::string> warnings;
    const auto& model = record.model;
    const double coarser =
        std::max(record.plan.umPerPixelX, record.plan.umPerPixelY) / model.spacingUmPx;
    if (coarser > kCoarser) {
        warnings.push_back(io::formatText(
            "the image's pixels are %.1f times as large as those the model was trained "
            "with: detail that it looks for is not there",
            coarser));
    }
    if (colours.count() > 0) {
        double most = 0;
        for (size_t c = 0; c < 3; ++c)
            most = std::max(most, std::abs(colours.mean()[c] - model.mean.at(c)) / model.std.at(c));
        if (most > kDeviations) {
            warnings.push_back(io::formatText(
                "the colours lie %.1f deviations from those the model was trained with: "
                "another stain, sensor or band order?",
                most));
        }
    }
    if (record.rows.size() >= kFewContexts) {
        double spread = 0;
        for (const auto& row : record.rows)
            for (size_t c = 0; c < row.probabilities.size(); ++c)
                spread = std::max<double>(
                    spread, std::abs(row.probabilities[c] - record.rows[0].probabilities[c]));
        if (spread < kSame)
            warnings.push_back("the model gives the same answer everywhere (" +
                               std::to_string(record.rows.size()) + " contexts)");
    }
    if (shareWithoutData > kEmpty)
        warnings.push_back(percent(shareWithoutData) + " of what was classified holds no data");
    return warnings;
}

}  // namespace atlas::engine
