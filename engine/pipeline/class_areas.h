// SPDX-License-Identifier: Apache-2.0
// How much of an image each class covers. Every share that a person or a file is shown comes from
// here: legend, charts, summary.json and the picture agree.
#pragma once

#include <vector>

#include "io/export/raster_file.h"
#include "io/image_source.h"

namespace atlas::engine {

/// Level-0 pixels of `region` that each of `count` classes covers, by a raster of class numbers
/// (not a number: no answer). Cells at the border count with the part that lies in the region.
std::vector<double> classAreas(const io::GridRaster& classes, const io::Rect& region, size_t count);

/// Each area as a fraction of their sum; all 0 where nothing is covered.
std::vector<double> areaFractions(const std::vector<double>& areas);

/// Index of the largest area; -1 where nothing is covered.
int largestArea(const std::vector<double>& areas);

}  // namespace atlas::engine
