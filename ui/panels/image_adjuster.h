// SPDX-License-Identifier: Apache-2.0
// Brightness, contrast and gamma of the channels, over their histogram; one stain alone.
#pragma once

#include <QComboBox>
#include <QImage>
#include <QLabel>
#include <QSlider>
#include <QWidget>
#include <array>
#include <vector>

#include "ui/viewer/image_look.h"

namespace atlas::ui {

/// Counts of 0 to 255 of the three channels, as the look leaves them.
class Histogram : public QWidget {
  public:
    explicit Histogram(QWidget* parent = nullptr);
    void setPicture(const QImage& picture, const ImageLook& look);
    const std::array<std::vector<int>, 3>& counts() const { return counts_; }
    QSize sizeHint() const override { return {200, 56}; }

  protected:
    void paintEvent(QPaintEvent* event) override;

  private:
    std::array<std::vector<int>, 3> counts_;
};

class ImageAdjuster : public QWidget {
    Q_OBJECT

  public:
    explicit ImageAdjuster(QWidget* parent = nullptr);
    const ImageLook& look() const { return look_; }
    void setLook(const ImageLook& look);
    /// A small picture of the image, for the histogram.
    void setPicture(const QImage& picture);

    /// Two optical densities in words, as the user gives them: "0.65 0.70 0.29 / 0.22 0.80 0.56".
    bool setVectors(const QString& text);

  Q_SIGNALS:
    void edited(atlas::ui::ImageLook look);

  private:
    void showLook();
    void edit();
    void usePreset(int index);

    void useVectors(int index);

    QComboBox *channel_, *stain_, *preset_, *vectors_;
    QLabel* vectorsText_;
    QSlider *brightness_, *contrast_, *gamma_;
    std::array<QLabel*, 3> texts_;
    Histogram* histogram_;
    ImageLook look_;
    QImage picture_;
    bool filling_ = false;
};

}  // namespace atlas::ui
