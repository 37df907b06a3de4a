// SPDX-License-Identifier: Apache-2.0
// A whole image, or a region of it, as one context of the network.
#pragma once

#include <filesystem>

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// Runs the network over plan.region. `scratch`: for tokens that do not fit and for checkpoints,
/// which are kept under `key`. Fills record.rows, record.whole and record.warnings; returns the
/// layers. Throws what reading, the network or `progress` throw.
RunLayers classifyWholeImage(const io::ColorSource& image, const Classifier& classifier,
                             const std::filesystem::path& scratch, const std::string& key,
                             const WholeProgress& progress, RunRecord& record);

}  // namespace atlas::engine
