// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

/// The image, at most 1600 px a side, with class colours over it and a legend of the classes that
/// occur, most frequent first.
io::RgbaImage drawOverlay(const io::ColorSource& image, const RunRecord& record,
                          const RunLayers& layers);

}  // namespace atlas::engine
