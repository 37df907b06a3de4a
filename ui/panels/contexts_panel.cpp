// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/contexts_panel.h"

#include <QHBoxLayout>
#include <QHeaderView>
#include <QTabWidget>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "engine/pipeline/class_areas.h"
#include "ui/units.h"

namespace atlas::ui {
namespace {

QString percent(double share) {
    return QString("%1 %").arg(100 * share, 0, 'f', 1);
}

/// The second best class; -1 where there is one class alone.
int secondBest(const engine::TileRow& tile) {
    const int best = tile.best();
    int second = -1;
    for (int c = 0; c < static_cast<int>(tile.probabilities.size()); ++c)
        if (c != best && (second < 0 || tile.probabilities[static_cast<size_t>(c)] >
                                            tile.probabilities[static_cast<size_t>(second)]))
            second = c;
    return second;
}

}  // namespace

void ContextsModel::setTiles(std::vector<engine::TileRow> tiles, const ModelLook& look) {
    beginResetModel();
    tiles_ = std::move(tiles);
    look_ = look;
    endResetModel();
}

size_t ContextsModel::masses() const {
    return tiles_.empty() ? 0 : tiles_.front().meanMass.size();
}

int ContextsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(tiles_.size());
}

int ContextsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : FirstMass + static_cast<int>(masses()) + 2;
}

QVariant ContextsModel::data(const QModelIndex& index, int role) const {
    const auto& tile = tiles_[static_cast<size_t>(index.row())];
    const int best = tile.best(), second = secondBest(tile);
    const auto mass = static_cast<size_t>(index.column() - FirstMass);
    const bool isMass = index.column() >= FirstMass && mass < masses();
    const bool isX = index.column() == FirstMass + static_cast<int>(masses());
    if (role == Qt::DecorationRole && index.column() == Class)
        return static_cast<size_t>(best) < look_.classColors.size()
                   ? QVariant(look_.classColors[static_cast<size_t>(best)])
                   : QVariant();
    if (role == Qt::TextAlignmentRole && index.column() != Class && index.column() != Second)
        return QVariant(Qt::AlignRight | Qt::AlignVCenter);
    if (role != Qt::DisplayRole && role != Qt::UserRole) return {};
    const bool sorting = role == Qt::UserRole;
    const auto number = [&](double value) {
        return sorting ? QVariant(value) : QVariant(percent(value));
    };
    if (index.column() == Class) return look_.classNames.value(best);
    if (index.column() == Certainty) return number(tile.probabilities[static_cast<size_t>(best)]);
    if (index.column() == Second)
        return second < 0 ? QString()
               : sorting  ? look_.classNames.value(second)
                          : QString("%1, %2").arg(
                                look_.classNames.value(second),
                                percent(tile.probabilities[static_cast<size_t>(second)]));
    if (index.column() == Disagreement)
        return sorting ? QVariant(tile.disagreement)
               : tile.disagreement < 0
                   ? QVariant()
                   : QVariant(QString("%1 %").arg(100 * tile.disagreement, 0, 'f', 0));
    if (isMass) return number(tile.meanMass[mass]);
    const double at = isX ? tile.x : tile.y;
    return sorting ? QVariant(at) : QVariant(QString::number(at, 'f', 0));
}

QVariant ContextsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal) return {};
    const auto mass = static_cast<size_t>(section - FirstMass);
    const bool isMass = section >= FirstMass && mass < masses();
    if (role == Qt::ToolTipRole) {
        if (section == Disagreement)
            return tr("Share of the neighbouring contexts of another class");
        if (isMass) return tr("Attention of the finest tokens on %1").arg(look_.massTitle(mass));
        return {};
    }
    if (role != Qt::DisplayRole) return {};
    switch (section) {
        case Class:
            return tr("Class");
        case Certainty:
            return tr("Certainty");
        case Second:
            return tr("Second");
        case Disagreement:
            return tr("Neighbours differ");
        default:
            if (isMass && look_.massNames.isEmpty()) return tr("On s%1").arg(mass);
            if (isMass) return tr("On %1").arg(look_.massTitle(mass));
            return section == FirstMass + static_cast<int>(masses()) ? tr("x") : tr("y");
    }
}

class ContextsPanel::Filter : public QSortFilterProxyModel {
  public:
    using QSortFilterProxyModel::QSortFilterProxyModel;
    void set(int wanted, double least, double most) {
        wanted_ = wanted;
        least_ = least;
        most_ = most;
        invalidateFilter();
    }

  protected:
    bool filterAcceptsRow(int row, const QModelIndex&) const override {
        const auto& tile =
            static_cast<const ContextsModel*>(sourceModel())->tiles()[static_cast<size_t>(row)];
        const int best = tile.best();
        const float p = tile.probabilities[static_cast<size_t>(best)];
        return (wanted_ < 0 || best == wanted_) && p >= least_ && p <= most_;
    }

  private:
    int wanted_ = -1;
    double least_ = 0, most_ = 1;
};

ContextsPanel::ContextsPanel(QWidget* parent) : QWidget(parent) {
    setObjectName("contexts.panel");
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(6, 4, 6, 4);
    empty_ = new QLabel(tr("Every classified context will be a row here after a run."));
    empty_->setProperty("faint", true);
    outer->addWidget(empty_);
    all_ = new QWidget;
    outer->addWidget(all_, 1);
    auto* layout = new QVBoxLayout(all_);
    layout->setContentsMargins(0, 0, 0, 0);
    auto* row = new QHBoxLayout;
    class_ = new QComboBox;
    class_->setObjectName("contexts.class");
    class_->setToolTip(tr("Show, and draw, contexts of this class alone"));
    row->addWidget(class_);
    const auto slider = [&](const char* name, const QString& title, const QString& tip, int value) {
        auto* s = new QSlider(Qt::Horizontal);
        s->setObjectName(name);
        s->setAccessibleName(title);
        s->setToolTip(tip);
        s->setRange(0, 100);
        s->setValue(value);
        s->setMaximumWidth(140);
        row->addWidget(new QLabel(title));
        row->addWidget(s);
        return s;
    };
    least_ = slider("contexts.least", tr("Certainty from"), tr("Hide less certain contexts"), 0);
    most_ = slider("contexts.most", tr("to"), tr("Hide more certain contexts"), 100);
    text_ = new QLabel;
    text_->setObjectName("contexts.text");
    row->addWidget(text_, 1);
    layout->addLayout(row);
    model_ = new ContextsModel(this);
    proxy_ = new Filter(this);
    proxy_->setSourceModel(model_);
    proxy_->setSortRole(Qt::UserRole);
    table_ = new QTableView;
    table_->setObjectName("contexts.table");
    table_->setAccessibleName(tr("Contexts"));
    table_->setToolTip(tr("Click a row to go there; N and Shift+N step through them"));
    table_->setModel(proxy_);
    table_->setSortingEnabled(true);
    table_->setSelectionBehavior(QAbstractItemView::SelectRows);
    table_->setSelectionMode(QAbstractItemView::SingleSelection);
    table_->verticalHeader()->hide();
    table_->verticalHeader()->setDefaultSectionSize(22);
    areas_ = new QTableWidget(0, 5);
    areas_->setObjectName("contexts.areas");
    areas_->setAccessibleName(tr("What each class covers"));
    areas_->setHorizontalHeaderLabels(
        {tr("Class"), tr("Contexts"), tr("Area"), tr("Share"), tr("Mean certainty")});
    areas_->verticalHeader()->hide();
    areas_->setEditTriggers(QAbstractItemView::NoEditTriggers);
    areas_->horizontalHeader()->setStretchLastSection(true);
    auto* tabs = new QTabWidget;
    tabs->setObjectName("contexts.tabs");
    tabs->addTab(table_, tr("Contexts"));
    tabs->addTab(areas_, tr("Classes"));
    gallery_ = new Gallery;
    tabs->addTab(gallery_, tr("Gallery"));
    charts_ = new ResultCharts;
    tabs->addTab(charts_, tr("Histograms"));
    connect(gallery_, &Gallery::chosen, this, &ContextsPanel::chosen);
    layout->addWidget(tabs, 1);
    const auto choose = [this](const QModelIndex& now) {
        if (!now.isValid() || filling_) return;
        const auto& tile = model_->tiles()[static_cast<size_t>(proxy_->mapToSource(now).row())];
        Q_EMIT chosen({tile.x, tile.y, tile.width, tile.height});
    };
    connect(table_->selectionModel(), &QItemSelectionModel::currentRowChanged, this, choose);
    connect(table_, &QTableView::clicked, this, choose);
    connect(class_, &QComboBox::activated, this, &ContextsPanel::applyFilter);
    connect(least_, &QSlider::valueChanged, this, &ContextsPanel::applyFilter);
    connect(most_, &QSlider::valueChanged, this, &ContextsPanel::applyFilter);
    clear();
}

int ContextsPanel::shown() const {
    return proxy_->rowCount();
}

void ContextsPanel::clear() {
    model_->setTiles({}, {});
    gallery_->clear();
    charts_->setTiles({}, {});
    all_->setVisible(false);
    empty_->setVisible(true);
}

void ContextsPanel::setTiles(const std::vector<engine::TileRow>& tiles, std::vector<double> areas,
                             const ModelLook& look, double areaUm2,
                             std::shared_ptr<const io::ColorSource> image) {
    covered_ = std::move(areas);
    areaUm2_ = areaUm2;
    filling_ = true;
    model_->setTiles(tiles, look);
    class_->clear();
    class_->addItem(tr("all classes"));
    class_->addItems(look.classNames);
    least_->setValue(0);
    most_->setValue(100);
    proxy_->set(-1, 0, 1);
    table_->horizontalHeader()->resizeSections(QHeaderView::ResizeToContents);
    table_->sortByColumn(ContextsModel::Certainty, Qt::AscendingOrder);
    filling_ = false;
    fillAreas();
    updateText();
    gallery_->setTiles(tiles, look, std::move(image));
    charts_->setTiles(tiles, look);
    all_->setVisible(!tiles.empty());
    empty_->setVisible(tiles.empty());
}

void ContextsPanel::fillAreas() {
    const auto& look = model_->look();
    const auto classes = static_cast<size_t>(look.classNames.size());
    std::vector<double> certainty(classes);
    std::vector<int> count(classes);
    for (const auto& tile : model_->tiles()) {
        const auto best = static_cast<size_t>(tile.best());
        if (best >= classes) continue;
        certainty[best] += tile.probabilities[best];
        ++count[best];
    }
    covered_.resize(classes);
    const auto shares = engine::areaFractions(covered_);
    areas_->setSortingEnabled(false);
    areas_->setRowCount(0);
    for (size_t c = 0; c < classes; ++c) {
        if (!count[c] && !(covered_[c] > 0)) continue;
        const int row = areas_->rowCount();
        areas_->insertRow(row);
        auto* name = new QTableWidgetItem(look.classNames.value(static_cast<int>(c)));
        if (c < look.classColors.size()) name->setData(Qt::DecorationRole, look.classColors[c]);
        areas_->setItem(row, 0, name);
        const QStringList cells{QString::number(count[c]),
                                areaUm2_ > 0 ? areaText(covered_[c] * areaUm2_, look.ground, 2)
                                             : tr("%1 Mpx").arg(covered_[c] * 1e-6, 0, 'f', 1),
                                percent(shares[c]),
                                count[c] ? percent(certainty[c] / count[c]) : QString()};
        for (int i = 0; i < cells.size(); ++i) {
            auto* item = new QTableWidgetItem(cells[i]);
            item->setTextAlignment(Qt::AlignRight | Qt::AlignVCenter);
            areas_->setItem(row, i + 1, item);
        }
    }
    areas_->resizeColumnsToContents();
}

void ContextsPanel::applyFilter() {
    filling_ = true;  // the current row may go; nobody asked to fly elsewhere
    proxy_->set(class_->currentIndex() - 1, least_->value() / 100.0, most_->value() / 100.0);
    filling_ = false;
    updateText();
    Q_EMIT filterChanged();
}

void ContextsPanel::updateText() {
    text_->setText(filters() ? tr("%1 of %2 contexts, %3 to %4 % certain")
                                   .arg(shown())
                                   .arg(model_->rowCount())
                                   .arg(least_->value())
                                   .arg(most_->value())
                             : tr("%1 contexts").arg(shown()));
}

std::vector<bool> ContextsPanel::kept() const {
    std::vector<bool> kept(model_->tiles().size());
    for (int row = 0; row < proxy_->rowCount(); ++row)
        kept[static_cast<size_t>(proxy_->mapToSource(proxy_->index(row, 0)).row())] = true;
    return kept;
}

void ContextsPanel::step(int by) {
    const int rows = proxy_->rowCount();
    if (rows == 0) return;
    const int now =
        table_->currentIndex().isValid() ? table_->currentIndex().row() : (by > 0 ? -1 : 0);
    const int next = ((now + by) % rows + rows) % rows;
    table_->setCurrentIndex(proxy_->index(next, 0));
    table_->scrollTo(proxy_->index(next, 0));
}

}  // namespace atlas::ui
