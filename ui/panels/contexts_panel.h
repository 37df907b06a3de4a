// SPDX-License-Identifier: Apache-2.0
// Every classified context in a table that sorts and filters, and what each class covers.
#pragma once

#include <QAbstractTableModel>
#include <QComboBox>
#include <QLabel>
#include <QSlider>
#include <QSortFilterProxyModel>
#include <QTableView>
#include <QTableWidget>
#include <QWidget>
#include <vector>

#include "engine/pipeline/run_folder.h"
#include "ui/panels/gallery.h"
#include "ui/panels/result_charts.h"
#include "ui/result_layers.h"

namespace atlas::ui {

class ContextsModel : public QAbstractTableModel {
    Q_OBJECT

  public:
    enum Column { Class, Certainty, Second, Disagreement, FirstMass };

    using QAbstractTableModel::QAbstractTableModel;
    void setTiles(std::vector<engine::TileRow> tiles, const ModelLook& look);
    const std::vector<engine::TileRow>& tiles() const { return tiles_; }
    const ModelLook& look() const { return look_; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

  private:
    size_t masses() const;
    std::vector<engine::TileRow> tiles_;
    ModelLook look_;
};

class ContextsPanel : public QWidget {
    Q_OBJECT

  public:
    explicit ContextsPanel(QWidget* parent = nullptr);

    /// `areas`: level-0 pixels that each class covers; `areaUm2`: of one of them, 0: not known.
    /// `image`: for the gallery.
    void setTiles(const std::vector<engine::TileRow>& tiles, std::vector<double> areas,
                  const ModelLook& look, double areaUm2,
                  std::shared_ptr<const io::ColorSource> image);
    void clear();
    /// Chooses the next (or previous) row that the filter leaves; wraps around.
    void step(int by);
    int shown() const;
    /// The contexts that the filter leaves, by their number in the run.
    std::vector<bool> kept() const;
    Gallery* gallery() const { return gallery_; }
    bool filters() const { return shown() != model_->rowCount(); }

  Q_SIGNALS:
    void chosen(QRectF box);
    void filterChanged();

  private:
    void applyFilter();
    void fillAreas();
    void updateText();

    class Filter;
    ContextsModel* model_;
    Filter* proxy_;
    QTableView* table_;
    QTableWidget* areas_;
    Gallery* gallery_;
    ResultCharts* charts_;
    QComboBox* class_;
    QSlider *least_, *most_;
    QLabel *text_, *empty_;
    QWidget* all_;
    std::vector<double> covered_;  ///< level-0 pixels, a class each
    double areaUm2_ = 0;
    bool filling_ = false;
};

}  // namespace atlas::ui
