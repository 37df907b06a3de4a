// SPDX-License-Identifier: Apache-2.0
// Does the viewer wait? A scripted flight over an image with layers on, once with everything at
// hand and once with a source that takes its time.
#pragma once

#include <QJsonObject>
#include <functional>
#include <memory>

#include "io/color_source.h"

namespace atlas::ui {

struct ViewerBenchOptions {
    int frames = 600;
    int delayMs = 100;  ///< a tile, of the slowed source
    int width = 1200, height = 800;
    size_t cacheBytes = size_t{256} << 20;
    double limitSeconds = 300;  ///< what is left then is not measured, and named
    std::function<void(const QString&)> progress = [](const QString&) {};  ///< a line, each second
};

/// Milliseconds: cached and slowed {median, p99, max}, ratio_p99; first_coarse, sharp (worst of
/// several jumps, undelayed); texture_mib, texture_budget_mib, cache_mib, rss_growth_mib over the
/// second half of a long flight. `first_coarse` and `sharp` are null where the picture did not come
/// in time. `not_reached` names each part that was cut short by the limit, with how far it came.
/// Every wait is bounded; a frame is drawn to its end. Needs a QApplication and a screen.
QJsonObject benchViewer(const io::SourcePtr& source, const ViewerBenchOptions& options);

}  // namespace atlas::ui
