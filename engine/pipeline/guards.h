// SPDX-License-Identifier: Apache-2.0
// Signs that a model's answers should not be believed: said in the run's warnings, never hidden.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// Mean colour of what was classified, gathered context by context.
class ColourStatistics {
  public:
    void add(const ContextPixels& context);
    int64_t count() const { return count_; }
    std::array<double, 3> mean() const;  ///< 0 to 1

  private:
    std::array<double, 3> sum_{};
    int64_t count_ = 0;
};

/// One sentence a sign:
/// - the image's pixels are much finer or coarser than the model's (more than 4 times finer is only
///   averaging, said no more; coarser than 1.5 times has to invent detail);
/// - its mean colour lies more than 1.5 of the model's deviations from the model's mean;
/// - the answer is the same nearly everywhere (8 contexts or more, all within 0.02);
/// - much of what was classified holds no data.
std::vector<std::string> guardWarnings(const RunRecord& record, const ColourStatistics& colours,
                                       double shareWithoutData);

}  // namespace atlas::engine
