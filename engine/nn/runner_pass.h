// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "engine/nn/atlas_runner.h"
#include "engine/nn/block_engine.h"
#include "engine/nn/runner_readout.h"
#include "engine/nn/stem_runner.h"

namespace atlas::engine {

/// A network as runs need it: what stays the same from one to the next.
struct RunnerModel {
    AtlasConfig config;
    bool bf16 = false;
    std::unique_ptr<StemRunner> stem;
    ReadoutLayers readout;
    int64_t weightBytes = 0;  ///< in the host's memory
};

/// One run: lays the scales out, streams the stem, takes the blocks over the windows, reads out;
/// keeps checkpoints. `blocks` belongs to this run meanwhile. Throws as AtlasRunner::run.
RunnerOutput runPass(const RunnerModel& model, BlockEngine& blocks, const RunnerInput& input,
                     const RunnerRequest& request, const RunnerOptions& options,
                     const std::function<void(const RunnerProgress&)>& progress);

}  // namespace atlas::engine
