// SPDX-License-Identifier: Apache-2.0
// What a user says of the values that a network is given. Plain values.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "io/color_source.h"

namespace atlas::engine {

/// Whatever is left empty follows from the model's config, else from the image.
struct InputChoice {
    std::vector<std::string> bands;           ///< three: numbers from 1, or names; red, green, blue
    std::optional<io::Stretch> stretch;       ///< how values become 0 to 255
    double lowPercent = 2, highPercent = 98;  ///< of Stretch::Percentile
    std::array<std::array<double, 2>, 3> range{};  ///< of Stretch::Given: low and high a channel
    bool operator==(const InputChoice&) const = default;
    bool isAutomatic() const { return bands.empty() && !stretch; }
};

}  // namespace atlas::engine
