// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/layers_panel.h"

#include <QFormLayout>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/panels/controls.h"
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
    up_ = namedButton("layers.up", tr("Up"), tr("Draw the selected layer over the next one"));
    down_ =
        namedButton("layers.down", tr("Down"), tr("Draw the selected layer under the one before"));
    auto* order = new QHBoxLayout;
    order->addWidget(up_);
    order->addWidget(down_);
    order->addStretch();
    layout->addLayout(order);
    connect(up_, &QPushButton::clicked, this, [this] { Q_EMIT moveAsked(selected(), 1); });
    connect(down_, &QPushButton::clicked, this, [this] { Q_EMIT moveAsked(selected(), -1); });
    empty_ = new QLabel(
        tr("The prediction and one attention map a scale will be here when a run starts."));
    empty_->setWordWrap(true);
    empty_->setProperty("faint", true);
    layout->addWidget(empty_);
    settings_ = new QWidget;
    auto* form = form_ = new QFormLayout(settings_);
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
        thresholdRow_ = row;  // the last one
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
    scaling_ = new QComboBox;
    scaling_->setObjectName("layers.scaling");
    scaling_->setToolTip(tr("Which values the ends of the colour map stand for"));
    scaling_->addItems({tr("2 to 98 % of the values"), tr("the values themselves")});
    form->addRow(tr("Range"), scaling_);
    blend_ = new QComboBox;
    blend_->setObjectName("layers.blend");
    blend_->setToolTip(tr("How the layer meets what is under it"));
    blend_->addItems({tr("covers"), tr("multiplies (keeps dark detail)"), tr("adds light")});
    form->addRow(tr("Blend"), blend_);
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
    ticks_ = new QWidget;
    ticks->setContentsMargins(0, 0, 0, 0);
    ticks_->setLayout(ticks);
    form->addRow(QString(), ticks_);
    layout->addWidget(settings_);
    settings_->setVisible(false);
    imageSettings_ = new QWidget;
    auto* imageForm = imageForm_ = new QFormLayout(imageSettings_);
    imageForm->setContentsMargins(0, 0, 0, 0);
    mapping_ = new QComboBox;
    mapping_->setObjectName("layers.mapping");
    mapping_->setToolTip(tr("Which bands make the colours of the screen"));
    mapping_->addItems({tr("true colour"), tr("false colour (infrared)"), tr("single band"),
                        tr("index (a - b) / (a + b)"), tr("chosen below")});
    imageForm->addRow(tr("Bands"), mapping_);
    connect(mapping_, &QComboBox::activated, this, &LayersPanel::useMapping);
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
    stretch_->addItems({tr("none (0 to 255)"), tr("2 to 98 % of the image"),
                        tr("smallest to largest"), tr("as given"), tr("2 to 98 % of the view")});
    imageForm->addRow(tr("Stretch"), stretch_);
    adjuster_ = new ImageAdjuster;
    imageForm->addRow(adjuster_);
    layout->addWidget(imageSettings_);
    imageSettings_->setVisible(false);
    for (auto* channel : channels_)
        connect(channel, &QComboBox::activated, this, &LayersPanel::emitDisplay);
    connect(stretch_, &QComboBox::activated, this, &LayersPanel::emitDisplay);
    connect(blend_, &QComboBox::currentIndexChanged, this, [this](int v) {
        edit([v](OverlayLayer& l) { l.blend = static_cast<OverlayLayer::Blend>(v); });
    });
    connect(scaling_, &QComboBox::activated, this, [this](int v) {
        edit([v](OverlayLayer& l) {
            l.raw = v == 1;
            l.rescale();
        });
    });
    connect(list_, &QListWidget::itemChanged, this, [this](QListWidgetItem* item) {
        if (!filling_)
            Q_EMIT visibilityChanged(item->data(Qt::UserRole).toString(),
                                     item->checkState() == Qt::Checked);
    });
    connect(list_, &QListWidget::currentRowChanged, this, [this] {
        showSettings();
        if (!filling_) Q_EMIT selectionChanged(selected());
    });
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
    bool rebuilt = list_->count() != static_cast<int>(layers.size()) + 1;
    for (size_t i = 0; !rebuilt && i < layers.size(); ++i)
        rebuilt = list_->item(static_cast<int>(i) + 1)->data(Qt::UserRole) != layers[i].id;
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

LayersPanel::Mapping LayersPanel::mappingNow() const {
    const auto& b = display_.bands;
    if (display_.mixing == io::BandMixing::Index) return Index;
    if (b[0] == b[1] && b[1] == b[2]) return Single;
    if (b == trueColor_) return TrueColor;
    return b == falseColor() ? FalseColor : Custom;
}

/// Infrared, red, green where the bands say which they are; else the fourth band for red.
std::array<int, 3> LayersPanel::falseColor() const {
    if (vegetation_) return {(*vegetation_)[0], (*vegetation_)[1], trueColor_[1]};
    return {std::min(3, channels_[0]->count() - 1), trueColor_[0], trueColor_[1]};
}

void LayersPanel::useMapping(int mapping) {
    const int bands = channels_[0]->count();
    const bool was = display_.mixing == io::BandMixing::Index;
    if (was && mapping != Index) {  // an index is not stretched; colours are, as before
        display_.stretch = stretchBeforeIndex_;
        stretch_->setCurrentIndex(static_cast<int>(display_.stretch));
    }
    if (!was && mapping == Index) stretchBeforeIndex_ = display_.stretch;
    display_.mixing = io::BandMixing::Color;
    switch (mapping) {
        case TrueColor:
            display_.bands = trueColor_;
            break;
        case FalseColor:
            display_.bands = falseColor();
            break;
        case Single:
            display_.bands.fill(display_.bands[0]);
            break;
        case Index:
            display_.mixing = io::BandMixing::Index;
            display_.stretch = io::Stretch::None;
            stretch_->setCurrentIndex(0);
            if (vegetation_)
                display_.bands = {(*vegetation_)[0], (*vegetation_)[1], (*vegetation_)[1]};
            else
                display_.bands = {std::min(3, bands - 1), 0, 0};
            break;
        default:
            break;
    }
    filling_ = true;
    for (size_t c = 0; c < channels_.size(); ++c) channels_[c]->setCurrentIndex(display_.bands[c]);
    filling_ = false;
    showChannels();
    emitDisplay();
}

/// As many choices of bands as the mapping has.
void LayersPanel::showChannels() {
    const Mapping mapping = mappingNow();
    mapping_->setCurrentIndex(mapping);
    const std::array<QString, 3> titles =
        mapping == Index    ? std::array<QString, 3>{tr("a"), tr("b"), {}}
        : mapping == Single ? std::array<QString, 3>{tr("Band"), {}, {}}
                            : std::array<QString, 3>{tr("Red"), tr("Green"), tr("Blue")};
    for (size_t c = 0; c < channels_.size(); ++c) {
        channels_[c]->setVisible(!titles[c].isEmpty());
        if (auto* label = qobject_cast<QLabel*>(imageForm_->labelForField(channels_[c]))) {
            label->setText(titles[c]);
            label->setVisible(!titles[c].isEmpty());
        }
    }
}

void LayersPanel::emitDisplay() {
    if (filling_) return;
    const bool single = mapping_->currentIndex() == Single;
    for (size_t c = 0; c < channels_.size(); ++c)
        display_.bands[c] = channels_[single ? 0 : c]->currentIndex();
    const bool ofView = stretch_->currentIndex() == stretch_->count() - 1;
    display_.stretch =
        ofView ? io::Stretch::Percentile : static_cast<io::Stretch>(stretch_->currentIndex());
    if (!ofView) display_.stretchArea = {};
    Q_EMIT displayEdited(display_, ofView);
}

void LayersPanel::setDisplay(const QStringList& bandNames, const io::DisplaySettings& settings,
                             const std::optional<std::array<int, 2>>& vegetation,
                             const std::array<int, 3>& trueColor) {
    filling_ = true;
    display_ = settings;
    vegetation_ = vegetation;
    trueColor_ = trueColor;
    for (size_t c = 0; c < channels_.size(); ++c) {
        channels_[c]->clear();
        channels_[c]->addItems(bandNames);
        channels_[c]->setCurrentIndex(settings.bands[c]);
    }
    stretch_->setCurrentIndex(settings.stretchArea.empty() ? static_cast<int>(settings.stretch)
                                                           : stretch_->count() - 1);
    showChannels();
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
    up_->setEnabled(layer != layers_.end() && layer + 1 != layers_.end());
    down_->setEnabled(layer != layers_.end() && layer != layers_.begin());
    imageSettings_->setVisible(id.isEmpty() && list_->currentItem() && channels_[0]->count() > 0);
    if (layer == layers_.end()) return;
    filling_ = true;
    const bool magnitude = layer->kind == OverlayLayer::Kind::Magnitude;
    for (QWidget* row : {static_cast<QWidget*>(map_), static_cast<QWidget*>(scaling_), ticks_})
        form_->setRowVisible(row, magnitude);
    form_->setRowVisible(thresholdRow_, magnitude);
    form_->setRowVisible(band_, magnitude && layer->raster && layer->raster->bands > 1);
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
    scaling_->setEnabled(magnitude);
    scaling_->setCurrentIndex(layer->raw ? 1 : 0);
    blend_->setCurrentIndex(static_cast<int>(layer->blend));
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
