// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_identity.h"

#include <nlohmann/json.hpp>

#include "engine/pipeline/model_input.h"

namespace atlas::engine {

std::string runIdOf(const RunRecord& record, const io::DisplaySettings& input, int resultsVersion) {
    const auto& r = record.request;
    const auto& p = record.plan;
    return derivedUuid(
        nlohmann::json{{"results_version", resultsVersion},
                       {"source", record.sourceFingerprint},
                       {"model", record.modelSha256},
                       {"config", nlohmann::json::parse(record.model.networkText())},
                       {"overlap", r.overlap},
                       {"mask", r.mask},
                       {"tissue_rule", tissueRuleName(r.tissueRule)},
                       {"attention", r.attention},
                       {"context", r.wholeImage ? "whole" : "model"},
                       {"precision", r.precision},
                       {"um", {p.umPerPixelX, p.umPerPixelY}},
                       {"region", {p.region.x, p.region.y, p.region.width, p.region.height}},
                       {"bands", input.bands},
                       {"stretch", stretchName(input.stretch)},
                       {"range", input.range},
                       {"alpha", static_cast<int>(r.open.alpha)}}
            .dump());
}

}  // namespace atlas::engine
