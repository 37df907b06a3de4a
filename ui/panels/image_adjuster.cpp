// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/image_adjuster.h"

#include <QFormLayout>
#include <QHBoxLayout>
#include <QInputDialog>
#include <QLineEdit>
#include <QPainter>
#include <QPainterPath>
#include <QRegularExpression>
#include <algorithm>
#include <cmath>

#include "io/numbers.h"
#include "io/stain_vectors.h"

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
    vectors_ = new QComboBox;
    vectors_->setObjectName("adjust.vectors");
    vectors_->setToolTip(
        tr("The colours of hematoxylin and eosin: usual ones, those of this image, "
           "or given ones"));
    vectors_->addItems({tr("usual colours"), tr("estimated from this image"), tr("given …")});
    form->addRow(tr("Stain colours"), vectors_);
    vectorsText_ = new QLabel;
    vectorsText_->setObjectName("adjust.vectorsText");
    vectorsText_->setProperty("faint", true);
    vectorsText_->setWordWrap(true);
    form->addRow(vectorsText_);
    connect(vectors_, &QComboBox::activated, this, &ImageAdjuster::useVectors);
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

void ImageAdjuster::useVectors(int index) {
    if (index == 2) {
        bool good = false;
        const auto& v = look_.stains.vectors;
        const auto text = [](const std::array<double, 3>& d) {
            return QString("%1 %2 %3")
                .arg(d[0], 0, 'f', 3)
                .arg(d[1], 0, 'f', 3)
                .arg(d[2], 0, 'f', 3);
        };
        const QString given = QInputDialog::getText(
            this, tr("Stain colours"),
            tr("Optical density of hematoxylin / eosin (red green blue each):"), QLineEdit::Normal,
            text(v[0]) + " / " + text(v[1]), &good);
        if (good && !setVectors(given)) vectorsText_->setText(tr("not understood: %1").arg(given));
        return;
    }
    vectorsText_->clear();
    look_.stains = StainVectors();
    if (index == 1) {
        const QImage rgba = picture_.convertToFormat(QImage::Format_RGBA8888);
        io::RgbaImage small(rgba.width(), rgba.height());
        for (int y = 0; y < rgba.height(); ++y)
            std::copy_n(rgba.constScanLine(y), 4 * rgba.width(), small.pixel(0, y));
        const auto pair = io::estimateStains(small);
        if (pair) {
            look_.stains = StainVectors((*pair)[0], (*pair)[1]);
        } else {
            vectorsText_->setText(
                tr("This image does not show two stains: the usual colours stay."));
            vectors_->setCurrentIndex(0);
        }
    }
    edit();
}

bool ImageAdjuster::setVectors(const QString& text) {
    static const QRegularExpression number(R"(\d*\.?\d+)"), withCommas(R"(\d*,?\d+)");
    // Between blanks and slashes a comma is a decimal one, if that gives the six numbers.
    static const QRegularExpression commas(R"(^\s*(\d*,?\d+[\s/;]+){5}\d*,?\d+\s*$)");
    const bool decimalCommas = commas.match(text).hasMatch();
    std::array<double, 6> v{};
    size_t count = 0;
    for (auto it = (decimalCommas ? withCommas : number).globalMatch(text); it.hasNext(); ++count) {
        const auto value = io::parseTypedNumber(it.next().captured().toStdString());
        if (count < v.size() && value) v[count] = *value;
    }
    const std::array<double, 3> h{v[0], v[1], v[2]}, e{v[3], v[4], v[5]};
    const double across = std::abs(h[0] * e[1] - h[1] * e[0]) +
                          std::abs(h[1] * e[2] - h[2] * e[1]) + std::abs(h[2] * e[0] - h[0] * e[2]);
    if (count != v.size() || across < 1e-3) return false;
    look_.stains = StainVectors(h, e);
    vectors_->setCurrentIndex(2);
    vectorsText_->setText(text);
    edit();
    return true;
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
