// SPDX-License-Identifier: Apache-2.0
// The layer list with the settings of the selected layer.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QFormLayout>
#include <QLabel>
#include <QListWidget>
#include <QPushButton>
#include <QSlider>
#include <QWidget>
#include <array>
#include <functional>
#include <optional>
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
    /// `vegetation`: near infrared and red, where the image has them.
    void setDisplay(const QStringList& bandNames, const io::DisplaySettings& settings,
                    const std::optional<std::array<int, 2>>& vegetation,
                    const std::array<int, 3>& trueColor);

  Q_SIGNALS:
    void visibilityChanged(QString id, bool visible);  ///< empty id: the image
    void edited(atlas::ui::OverlayLayer layer);
    /// `ofView`: the stretch is to be measured on what is seen now.
    void displayEdited(atlas::io::DisplaySettings settings, bool ofView);
    void selectionChanged(QString id);
    void moveAsked(QString id, int by);  ///< up (by 1) in the picture or down

  private:
    enum Mapping { TrueColor, FalseColor, Single, Index, Custom };
    Mapping mappingNow() const;
    std::array<int, 3> falseColor() const;
    void useMapping(int mapping);
    void showChannels();
    void emitDisplay();
    void showSettings();
    void edit(const std::function<void(OverlayLayer&)>& change);

    QListWidget* list_;
    QLabel* empty_;
    QWidget *settings_, *imageSettings_;
    QFormLayout *form_, *imageForm_;
    std::array<QComboBox*, 3> channels_;
    QComboBox *stretch_, *mapping_;
    ImageAdjuster* adjuster_;
    QCheckBox *smooth_, *invert_;
    io::DisplaySettings display_;
    io::Stretch stretchBeforeIndex_ = io::Stretch::None;
    QSlider *opacity_, *threshold_;
    QLabel *opacityText_, *thresholdText_;
    QComboBox *band_, *map_, *blend_, *scaling_;
    QPushButton *up_, *down_;
    QWidget* ticks_;
    QLayout* thresholdRow_;
    std::optional<std::array<int, 2>> vegetation_;
    std::array<int, 3> trueColor_{0, 1, 2};
    std::vector<OverlayLayer> layers_;
    bool filling_ = false;
};

}  // namespace atlas::ui
