// SPDX-License-Identifier: Apache-2.0
// What makes one run another one: everything that its results depend on.
#pragma once

#include <string>

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// Raised whenever a change of the program changes results, so that what an earlier version
/// published is not taken for what this one would answer.
/// 2: borders of the image are answered by contexts moved inward; sums in the order of the plan;
///    the display no longer decides what a network is given.
inline constexpr int kResultsVersion = 2;

/// A UUID that follows from image, model, parameters, plan, what the network is given and
/// kResultsVersion; the same on every machine.
std::string runIdOf(const RunRecord& record, const io::DisplaySettings& input,
                    int resultsVersion = kResultsVersion);

}  // namespace atlas::engine
