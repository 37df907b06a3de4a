// SPDX-License-Identifier: Apache-2.0
// Turns the layers of a run into overlay layers, keeping what the user has set on the old ones.
#pragma once

#include <memory>
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
    /// "s0, 16 µm", "s1, 8 m, global tokens"; "s7" of a scale that the model does not have.
    QString scaleTitle(size_t scale) const;
    QString massTitle(size_t band) const;  ///< on what this share of attention falls
    size_t masses() const;
};

/// The layers of a run, without copies of its rasters; what the user has set on those of `before`
/// is kept. `area`: what of the image was asked about, level-0 pixels; cells are cut to it when
/// their area is measured. Any thread.
std::vector<OverlayLayer> makeLayers(const std::shared_ptr<const engine::RunLayers>& results,
                                     const ModelLook& look, const std::vector<OverlayLayer>& before,
                                     const io::Rect& area);

/// `made`, which took a while to make, with what the user has set on `now` since: its settings, its
/// order, and its layers that are of no run. Titles are of the bands that `made` had.
std::vector<OverlayLayer> withSettingsOf(const std::vector<OverlayLayer>& now,
                                         std::vector<OverlayLayer> made);

}  // namespace atlas::ui
