// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/image_adjuster.h"

#include <QFormLayout>
#include <QHBoxLayout>
#include <QPainter>
#include <QPainterPath>
#include <algorithm>
#include <cmath>

namespace atlas::ui {
namespace {
constexpr int kMiddle = 100;  // of every slider: unchanged
}

Histogram::Histogram(QWidget* parent) : QWidget(parent) {
    setObjectName("adjust.histogram");
    setAccessibleName(tr("Histogram of the image"));
    setToolTip(tr("How often each brightness occurs, as it is shown"));
    setMinimumHeight(56);
    for (auto& c : counts_) c.assign(256, 0);
}

void Histogram::setPicture(const QImage& picture, const ImageLook& look) {
    for (auto& c : counts_) c.assign(256, 0);
    const int step = std::max(1, picture.width() * picture.height() / 40000);
    for (int i = 0; i < picture.width() * picture.height(); i += step) {
        const QColor raw = picture.pixelColor(i % picture.width(), i / picture.width());
        if (raw.alpha() == 0) continue;
        const QColor shown = look.apply(raw);
        ++counts_[0][static_cast<size_t>(shown.red())];
        ++counts_[1][static_cast<size_t>(shown.green())];
        ++counts_[2][static_cast<size_t>(shown.blue())];
    }
    update();
}

void Histogram::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.fillRect(rect(), palette().color(QPalette::Base));
    painter.setCompositionMode(QPainter::CompositionMode_SourceOver);
    const QColor colors[] = {QColor(220, 70, 70, 130), QColor(70, 190, 90, 130),
                             QColor(80, 130, 230, 130)};
    int most = 1;
    for (const auto& c : counts_)  // the ends are clipped values: they would flatten the rest
        most = std::max(most, *std::max_element(c.begin() + 1, c.end() - 1));
    for (size_t c = 0; c < 3; ++c) {
        QPainterPath path(QPointF(0, height()));
        for (int i = 0; i < 256; ++i)
            path.lineTo(
                i * width() / 255.0,
                height() -
                    (height() - 2) *
                        std::sqrt(std::min(
                            1.0, static_cast<double>(counts_[c][static_cast<size_t>(i)]) / most)));
        path.lineTo(width(), height());
        painter.fillPath(path, colors[c]);
    }
}

ImageAdjuster::ImageAdjuster(QWidget* parent) : QWidget(parent) {
    setObjectName("adjust.panel");
    auto* form = new QFormLayout(this);
    form->setContentsMargins(0, 0, 0, 0);
    histogram_ = new Histogram;
    form->addRow(histogram_);
    preset_ = new QComboBox;
    preset_->setObjectName("adjust.preset");
    preset_->setToolTip(tr("Settings to begin with"));
    preset_->addItems({tr("as it is"), tr("faint colours"), tr("dark image"), tr("bright image")});
    form->addRow(tr("Look"), preset_);
    stain_ = new QComboBox;
    stain_->setObjectName("adjust.stain");
    stain_->setToolTip(tr("One stain of an H&E slide alone, by colour deconvolution"));
    stain_->addItems({tr("all colours"), tr("hematoxylin"), tr("eosin"), tr("residual")});
    form->addRow(tr("Stain"), stain_);
    channel_ = new QComboBox;
    channel_->setObjectName("adjust.channel");
    channel_->setToolTip(tr("Which channel the sliders change"));
    channel_->addItems({tr("all channels"), tr("red"), tr("green"), tr("blue")});
    form->addRow(tr("Adjust"), channel_);
    const auto slider = [&](const char* name, const QString& title, const QString& tip,
                            QLabel*& text) {
        auto* s = new QSlider(Qt::Horizontal);
        s->setObjectName(name);
        s->setAccessibleName(title);
        s->setToolTip(tip);
        s->setRange(0, 2 * kMiddle);
        s->setValue(kMiddle);
        text = new QLabel;
        text->setMinimumWidth(40);
        auto* row = new QHBoxLayout;
        row->addWidget(s, 1);
        row->addWidget(text);
        form->addRow(title, row);
        connect(s, &QSlider::valueChanged, this, &ImageAdjuster::edit);
        return s;
    };
    brightness_ = slider("adjust.brightness", tr("Brightness"), tr("Lighter or darker"), texts_[0]);
    contrast_ =
        slider("adjust.contrast", tr("Contrast"), tr("Further from grey or closer"), texts_[1]);
    gamma_ = slider("adjust.gamma", tr("Gamma"), tr("Lift or lower the dark parts"), texts_[2]);
    connect(preset_, &QComboBox::activated, this, &ImageAdjuster::usePreset);
    connect(channel_, &QComboBox::currentIndexChanged, this, &ImageAdjuster::showLook);
    connect(stain_, &QComboBox::currentIndexChanged, this, &ImageAdjuster::edit);
    showLook();
}

void ImageAdjuster::setLook(const ImageLook& look) {
    look_ = look;
    showLook();
    histogram_->setPicture(picture_, look_);
}

void ImageAdjuster::setPicture(const QImage& picture) {
    picture_ = picture;
    histogram_->setPicture(picture_, look_);
}

void ImageAdjuster::showLook() {
    filling_ = true;
    const auto& c = look_.channels[static_cast<size_t>(std::max(0, channel_->currentIndex() - 1))];
    brightness_->setValue(static_cast<int>(std::lround(kMiddle + kMiddle * c.brightness)));
    contrast_->setValue(
        static_cast<int>(std::lround(kMiddle + kMiddle / 2.0 * std::log2(c.contrast))));
    gamma_->setValue(static_cast<int>(std::lround(kMiddle + kMiddle / 2.0 * std::log2(c.gamma))));
    stain_->setCurrentIndex(static_cast<int>(look_.stain));
    texts_[0]->setText(QString::number(c.brightness, 'f', 2));
    texts_[1]->setText(QString::number(c.contrast, 'f', 2));
    texts_[2]->setText(QString::number(c.gamma, 'f', 2));
    filling_ = false;
}

/// Contrast and gamma run from 1/4 to 4.
void ImageAdjuster::edit() {
    if (filling_) return;
    const auto power = [](int value) { return std::exp2((value - kMiddle) / (kMiddle / 2.0)); };
    const ChannelLook now{(brightness_->value() - kMiddle) / static_cast<double>(kMiddle),
                          power(contrast_->value()), power(gamma_->value())};
    const int which = channel_->currentIndex();
    for (int c = 0; c < 3; ++c)
        if (which == 0 || which == c + 1) look_.channels[static_cast<size_t>(c)] = now;
    look_.stain = static_cast<Stain>(stain_->currentIndex());
    showLook();
    histogram_->setPicture(picture_, look_);
    Q_EMIT edited(look_);
}

void ImageAdjuster::usePreset(int index) {
    const ChannelLook presets[] = {{0, 1, 1}, {-0.1, 1.8, 1}, {0.1, 1.2, 1.8}, {-0.15, 1.2, 0.7}};
    look_.channels.fill(presets[index]);
    look_.stain = Stain::All;
    showLook();
    histogram_->setPicture(picture_, look_);
    Q_EMIT edited(look_);
}

}  // namespace atlas::ui
