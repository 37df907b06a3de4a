// SPDX-License-Identifier: Apache-2.0
// Words of the command line turned into values; each throws std::invalid_argument with the reason.
#pragma once

#include <string>

#include "io/image_source.h"
#include "io/reader_registry.h"

namespace atlas::app {

io::AlphaChoice parseAlpha(const std::string& text);
/// X,Y,W,H in level-0 pixels.
io::Rect parseRegion(const std::string& text);

}  // namespace atlas::app
