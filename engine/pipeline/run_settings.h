// SPDX-License-Identifier: Apache-2.0
// What a run decided when it was begun and must not decide again when it is resumed.
#pragma once

#include <filesystem>
#include <string>

namespace atlas::engine {

struct RunSettings {
    int contextsAtOnce = 1;          ///< that the network is given, 1 to 4096
    std::string precision = "fp32";  ///< that the network computes in: "fp32" or "bf16"
};

/// The settings that `path` holds; where it is not there, `fresh`, which it holds from now on.
/// Throws std::runtime_error with path and cause.
RunSettings keepSettings(const std::filesystem::path& path, const RunSettings& fresh);

}  // namespace atlas::engine
