// SPDX-License-Identifier: Apache-2.0
// Time and memory against the size of one image: Atlas, its sisters and a plain ViT of like size,
// with random weights, on the processor.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace atlas::engine {

struct ScalingOptions {
    int64_t most = 4096;       ///< pixels a side
    double limitSeconds = 40;  ///< a network stops at the size that would take longer
    int threads = 0;
    std::string filter;  ///< part of a network's name; empty: all
};

/// {"machine", "networks": [{"name", "parameters", "points": [{"px", "seconds", "peak_bytes"}]}]}
nlohmann::json runScaling(const ScalingOptions& options,
                          const std::function<void(const nlohmann::json&)>& report);

}  // namespace atlas::engine
