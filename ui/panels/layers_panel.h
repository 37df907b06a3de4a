// SPDX-License-Identifier: Apache-2.0
// The layer list with the settings of the selected layer.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLabel>
#include <QListWidget>
#include <QSlider>
#include <QWidget>
#include <array>
#include <vector>

#include "io/color_source.h"
#include "ui/panels/image_adjuster.h"
#include "ui/viewer/overlay_layer.h"

namespace atlas::ui {

class LayersPanel : public QWidget {
    Q_OBJECT

  public:
    explicit LayersPanel(QWidget* parent = nullptr);

    void setLayers(const std::vector<OverlayLayer>& layers, bool imageVisible);
    /// The id of the selected layer; empty for the image.
    QString selected() const;
    void select(const QString& id);
    /// Bands and stretch of the image, shown while its row is selected.
    ImageAdjuster* adjuster() const { return adjuster_; }
    void setDisplay(const QStringList& bandNames, const io::DisplaySettings& settings);

  Q_SIGNALS:
    void visibilityChanged(QString id, bool visible);  ///< empty id: the image
    void edited(atlas::ui::OverlayLayer layer);
    void displayEdited(atlas::io::DisplaySettings settings);

  private:
    void showSettings();
    void edit(const std::function<void(OverlayLayer&)>& change);

    QListWidget* list_;
    QLabel* empty_;
    QWidget *settings_, *imageSettings_;
    std::array<QComboBox*, 3> channels_;
    QComboBox* stretch_;
    ImageAdjuster* adjuster_;
    QCheckBox *smooth_, *invert_;
    io::DisplaySettings display_;
    QSlider *opacity_, *threshold_;
    QLabel *opacityText_, *thresholdText_;
    QComboBox *band_, *map_;
    std::vector<OverlayLayer> layers_;
    bool filling_ = false;
};

}  // namespace atlas::ui
