// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

namespace atlas::io {

/// The simplest fraction within 1e-12 of a value above 0, in 32 bits each; of values that do not
/// fit, the nearest that does.
std::array<uint32_t, 2> simplestFraction(double value);

/// Sets the resolution tags of the first directory of a little-endian TIFF or BigTIFF that has them
/// to these pixels a unit, exactly: libtiff keeps them in single precision meanwhile. Leaves any
/// other file as it is.
void setExactResolution(const std::filesystem::path& path, double perUnitX, double perUnitY);

}  // namespace atlas::io
