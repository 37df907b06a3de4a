// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/layers_panel.h"

#include <QFormLayout>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/viewer/color_maps.h"

namespace atlas::ui {

namespace {
constexpr int kTallestList = 320;
}

LayersPanel::LayersPanel(QWidget* parent) : QWidget(parent) {
    setObjectName("layers.panel");
    auto* layout = new QVBoxLayout(this);
    list_ = new QListWidget;
    list_->setObjectName("layers.list");
    list_->setAccessibleName(tr("Layers"));
    list_->setToolTip(tr("Tick to show; V prediction, H attention, , and . next scale"));
    list_->setMinimumHeight(110);
    layout->addWidget(list_, 1);
    empty_ = new QLabel(
        tr("The prediction and one attention map a scale will be here when a run starts."));
    empty_->setWordWrap(true);
    empty_->setProperty("faint", true);
    layout->addWidget(empty_);
    settings_ = new QWidget;
    auto* form = new QFormLayout(settings_);
    form->setContentsMargins(0, 0, 0, 0);
    const auto slider = [&](const char* name, const QString& title, const QString& tip,
                            QLabel*& text) {
        auto* control = new QSlider(Qt::Horizontal);
        control->setObjectName(name);
        control->setAccessibleName(title);
        control->setToolTip(tip);
        control->setRange(0, 100);
        text = new QLabel;
        text->setMinimumWidth(44);
        auto* row = new QHBoxLayout;
        row->addWidget(control, 1);
        row->addWidget(text);
        form->addRow(title, row);
        return control;
    };
    opacity_ = slider("layers.opacity", tr("Opacity"),
                      tr("Opacity of the selected layer ([ and ])"), opacityText_);
    threshold_ = slider("layers.threshold", tr("Threshold"), tr("Values below are not drawn"),
                        thresholdText_);
    band_ = new QComboBox;
    band_->setObjectName("layers.band");
    band_->setToolTip(tr("Class or scale that the layer shows"));
    form->addRow(tr("Show"), band_);
    map_ = new QComboBox;
    map_->setObjectName("layers.colorMap");
    map_->setToolTip(tr("Colour map of the selected layer"));
    map_->addItems(colorMapNames());
    form->addRow(tr("Colours"), map_);
    smooth_ = new QCheckBox(tr("smooth"));
    smooth_->setObjectName("layers.smooth");
    smooth_->setToolTip(tr("Interpolate between cells instead of showing them as blocks"));
    invert_ = new QCheckBox(tr("inverted"));
    invert_->setObjectName("layers.invert");
    invert_->setToolTip(tr("The colour map the other way round"));
    auto* ticks = new QHBoxLayout;
    ticks->addWidget(smooth_);
    ticks->addWidget(invert_);
    ticks->addStretch();
    form->addRow(QString(), ticks);
    layout->addWidget(settings_);
    settings_->setVisible(false);
    imageSettings_ = new QWidget;
    auto* imageForm = new QFormLayout(imageSettings_);
    imageForm->setContentsMargins(0, 0, 0, 0);
    const std::array<QString, 3> titles{tr("Red"), tr("Green"), tr("Blue")};
    for (size_t c = 0; c < channels_.size(); ++c) {
        channels_[c] = new QComboBox;
        channels_[c]->setObjectName(QString("layers.channel%1").arg(c));
        channels_[c]->setToolTip(tr("Band shown, and classified, as this colour"));
        imageForm->addRow(titles[c], channels_[c]);
    }
    stretch_ = new QComboBox;
    stretch_->setObjectName("layers.stretch");
    stretch_->setToolTip(tr("How values become brightness; nodata is left out"));
    stretch_->addItems(
        {tr("none (0 to 255)"), tr("2 to 98 % of the values"), tr("smallest to largest")});
    imageForm->addRow(tr("Stretch"), stretch_);
    adjuster_ = new ImageAdjuster;
    imageForm->addRow(adjuster_);
    layout->addWidget(imageSettings_);
    imageSettings_->setVisible(false);
    const auto emitDisplay = [this] {
        if (filling_) return;
        for (size_t c = 0; c < channels_.size(); ++c)
            display_.bands[c] = channels_[c]->currentIndex();
        display_.stretch = static_cast<io::Stretch>(stretch_->currentIndex());
        Q_EMIT displayEdited(display_);
    };
    for (auto* channel : channels_) connect(channel, &QComboBox::activated, this, emitDisplay);
    connect(stretch_, &QComboBox::activated, this, emitDisplay);
    connect(list_, &QListWidget::itemChanged, this, [this](QListWidgetItem* item) {
        if (!filling_)
            Q_EMIT visibilityChanged(item->data(Qt::UserRole).toString(),
                                     item->checkState() == Qt::Checked);
    });
    connect(list_, &QListWidget::currentRowChanged, this, &LayersPanel::showSettings);
    connect(opacity_, &QSlider::valueChanged, this,
            [this](int v) { edit([v](OverlayLayer& l) { l.opacity = v / 100.0; }); });
    connect(threshold_, &QSlider::valueChanged, this, [this](int v) {
        edit([v](OverlayLayer& l) {
            l.threshold = v == 0 ? 0 : l.low + (l.high - l.low) * v / 100.0;
        });
    });
    connect(band_, &QComboBox::currentIndexChanged, this, [this](int v) {
        if (v >= 0) edit([v](OverlayLayer& l) { l.band = v; });
    });
    connect(smooth_, &QCheckBox::toggled, this,
            [this](bool v) { edit([v](OverlayLayer& l) { l.smooth = v; }); });
    connect(invert_, &QCheckBox::toggled, this,
            [this](bool v) { edit([v](OverlayLayer& l) { l.invert = v; }); });
    connect(map_, &QComboBox::currentTextChanged, this,
            [this](const QString& v) { edit([v](OverlayLayer& l) { l.colorMap = v; }); });
}

void LayersPanel::setLayers(const std::vector<OverlayLayer>& layers, bool imageVisible) {
    filling_ = true;
    const QString before = selected();
    const bool rebuilt = list_->count() != static_cast<int>(layers.size()) + 1;
    layers_ = layers;
    if (rebuilt) list_->clear();
    const auto put = [&](int row, const QString& id, const QString& title, bool visible) {
        if (rebuilt) list_->addItem(new QListWidgetItem);
        auto* item = list_->item(row);
        item->setText(title);
        item->setData(Qt::UserRole, id);
        item->setFlags(Qt::ItemIsEnabled | Qt::ItemIsSelectable | Qt::ItemIsUserCheckable);
        item->setCheckState(visible ? Qt::Checked : Qt::Unchecked);
    };
    put(0, {}, tr("image"), imageVisible);
    for (size_t i = 0; i < layers.size(); ++i)
        put(static_cast<int>(i) + 1, layers[i].id, layers[i].title, layers[i].visible);
    list_->setMaximumHeight(
        std::clamp(24 + 20 * list_->count(), list_->minimumHeight(), kTallestList));
    empty_->setVisible(layers.empty());
    filling_ = false;
    if (rebuilt) select(before.isEmpty() && !layers.empty() ? layers.front().id : before);
    showSettings();
}

void LayersPanel::setDisplay(const QStringList& bandNames, const io::DisplaySettings& settings) {
    filling_ = true;
    display_ = settings;
    for (size_t c = 0; c < channels_.size(); ++c) {
        channels_[c]->clear();
        channels_[c]->addItems(bandNames);
        channels_[c]->setCurrentIndex(settings.bands[c]);
    }
    stretch_->setCurrentIndex(std::min(static_cast<int>(settings.stretch), stretch_->count() - 1));
    filling_ = false;
    showSettings();
}

QString LayersPanel::selected() const {
    return list_->currentItem() ? list_->currentItem()->data(Qt::UserRole).toString() : QString();
}

void LayersPanel::select(const QString& id) {
    for (int i = 0; i < list_->count(); ++i)
        if (list_->item(i)->data(Qt::UserRole).toString() == id) list_->setCurrentRow(i);
}

void LayersPanel::showSettings() {
    const QString id = selected();
    const auto layer = std::find_if(layers_.begin(), layers_.end(), [&](const OverlayLayer& l) {
        return l.id == id && !id.isEmpty();
    });
    settings_->setVisible(layer != layers_.end());
    imageSettings_->setVisible(id.isEmpty() && list_->currentItem() && channels_[0]->count() > 0);
    if (layer == layers_.end()) return;
    filling_ = true;
    const bool magnitude = layer->kind == OverlayLayer::Kind::Magnitude;
    opacity_->setValue(static_cast<int>(layer->opacity * 100 + 0.5));
    opacityText_->setText(QString("%1 %").arg(opacity_->value()));
    threshold_->setEnabled(magnitude);
    threshold_->setValue(
        layer->threshold > 0 && layer->high > layer->low
            ? static_cast<int>((layer->threshold - layer->low) / (layer->high - layer->low) * 100 +
                               0.5)
            : 0);
    thresholdText_->setText(layer->threshold > 0 ? QString::number(layer->threshold, 'g', 3)
                                                 : tr("none"));
    const bool choice = magnitude && layer->raster && layer->raster->bands > 1;
    if (choice && band_->property("owner").toString() != id) {
        band_->clear();
        band_->addItems(layer->classNames);
        band_->setProperty("owner", id);
    }
    if (choice) band_->setCurrentIndex(layer->band);
    band_->setEnabled(choice);
    if (!choice) {
        band_->clear();
        band_->setProperty("owner", {});
    }
    map_->setEnabled(magnitude);
    map_->setCurrentText(layer->colorMap);
    smooth_->setEnabled(magnitude);
    invert_->setEnabled(magnitude);
    smooth_->setChecked(layer->smooth && magnitude);
    invert_->setChecked(layer->invert && magnitude);
    filling_ = false;
}

void LayersPanel::edit(const std::function<void(OverlayLayer&)>& change) {
    if (filling_) return;
    const QString id = selected();
    for (auto& layer : layers_)
        if (layer.id == id && !id.isEmpty()) {
            change(layer);
            Q_EMIT edited(layer);
            return;
        }
}

}  // namespace atlas::ui
