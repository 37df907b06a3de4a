// SPDX-License-Identifier: Apache-2.0
// Turns the layers of a run into overlay layers, keeping what the user has set on the old ones.
#pragma once

#include <vector>

#include "engine/pipeline/run_folder.h"
#include "ui/viewer/overlay_layer.h"

namespace atlas::ui {

/// What the window needs to know of a model to name and colour its layers.
struct ModelLook {
    QStringList classNames;
    std::vector<QColor> classColors;
    std::vector<double> tokenSidesUm;  ///< one a scale, finest first
    bool ground = false;
    QStringList mapNames, massNames;  ///< of networks other than Atlas; may be empty

    static ModelLook of(const engine::ModelConfig& model);
    static ModelLook of(const engine::LoadedRun& run);
    QString scaleTitle(size_t scale) const;  ///< "s0, 16 µm", "s1, 8 m, global tokens"
    QString massTitle(size_t band) const;    ///< on what this share of attention falls
    size_t masses() const;
};

std::vector<OverlayLayer> makeLayers(const engine::RunLayers& results, const ModelLook& look,
                                     const std::vector<OverlayLayer>& before);

}  // namespace atlas::ui
