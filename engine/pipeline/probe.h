// SPDX-License-Identifier: Apache-2.0
// What the token under a point attends to, at every scale.
#pragma once

#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_request.h"
#include "io/export/raster_file.h"

namespace atlas::engine {

struct ProbeResult {
    double contextX = 0, contextY = 0, contextWidth = 0, contextHeight = 0;  ///< level-0 pixels
    io::GridRaster token;  ///< one cell: the token asked about
    std::vector<io::GridRaster>
        scales;                ///< attention weights; width 0 where it sees none. Finest first
    std::vector<double> mass;  ///< sum of the weights of each scale
};

/// Runs the context of the grid of `request` (region, overlap) that holds level-0 point (x, y).
/// Throws std::runtime_error, e.g. where the point lies outside or has no data.
ProbeResult probeAt(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& request, int scale, double x, double y);

}  // namespace atlas::engine
