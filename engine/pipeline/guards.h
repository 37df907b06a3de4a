// SPDX-License-Identifier: Apache-2.0
// Signs in a run's answers that they should not be believed: said after the run, never hidden. What
// can be told before the run is told by suitability.h.
#pragma once

#include <vector>

#include "engine/pipeline/finding.h"
#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// - "same-answer": the answer is the same nearly everywhere (8 contexts or more, all within 0.02);
/// - "no-data": more than half of what was classified holds no data.
std::vector<Finding> guardFindings(const RunRecord& record, double shareWithoutData);

}  // namespace atlas::engine
