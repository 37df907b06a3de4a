// SPDX-License-Identifier: Apache-2.0
// Histograms over the contexts of a run: certainty, probability of a class, attention on a scale.
#pragma once

#include <QComboBox>
#include <QWidget>
#include <vector>

#include "engine/pipeline/run_folder.h"
#include "ui/result_layers.h"

namespace atlas::ui {

/// Bars from 0 to 100 %, each stacked by the class of its contexts.
class StackedHistogram : public QWidget {
  public:
    static constexpr size_t kBins = 20;

    explicit StackedHistogram(QWidget* parent = nullptr);
    /// One count for each bin and class.
    void setCounts(std::vector<std::vector<int>> counts, std::vector<QColor> colors,
                   const QString& title);
    const std::vector<std::vector<int>>& counts() const { return counts_; }
    QSize sizeHint() const override { return {360, 150}; }

  protected:
    void paintEvent(QPaintEvent* event) override;

  private:
    std::vector<std::vector<int>> counts_;
    std::vector<QColor> colors_;
    QString title_;
};

class ResultCharts : public QWidget {
    Q_OBJECT

  public:
    explicit ResultCharts(QWidget* parent = nullptr);
    void setTiles(const std::vector<engine::TileRow>& tiles, const ModelLook& look);

  private:
    void show(int what);

    QComboBox* what_;
    StackedHistogram* chart_;
    std::vector<engine::TileRow> tiles_;
    ModelLook look_;
};

}  // namespace atlas::ui
