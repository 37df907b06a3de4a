// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/guards.h"

#include <algorithm>
#include <cmath>

#include "io/numbers.h"

namespace atlas::engine {
namespace {

constexpr double kSame = 0.02, kEmpty = 0.5;
constexpr size_t kFewContexts = 8;

/// The greatest difference of a probability from the first context's.
double spreadOf(const std::vector<ContextRow>& rows) {
    double spread = 0;
    for (const auto& row : rows)
        for (size_t c = 0; c < row.probabilities.size(); ++c)
            spread =
                std::max<double>(spread, std::abs(row.probabilities[c] - rows[0].probabilities[c]));
    return spread;
}

}  // namespace

std::vector<Finding> guardFindings(const RunRecord& record, double shareWithoutData) {
    std::vector<Finding> findings;
    if (record.rows.size() >= kFewContexts && spreadOf(record.rows) < kSame)
        findings.push_back({"same-answer", Severity::Warn,
                            "The model gives the same answer everywhere (" +
                                std::to_string(record.rows.size()) + " contexts).",
                            "It may see nothing here that it knows.",
                            "Look at the picture, its bands and its resolution."});
    if (shareWithoutData > kEmpty)
        findings.push_back({"no-data", Severity::Warn,
                            io::formatFixed(100 * shareWithoutData, 0) +
                                " % of what was classified holds no data.",
                            "", "Leave the mask on, or choose a region that holds data."});
    return findings;
}

}  // namespace atlas::engine
