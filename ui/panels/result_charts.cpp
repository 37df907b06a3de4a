// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/result_charts.h"

#include <QHBoxLayout>
#include <QPainter>
#include <QVBoxLayout>
#include <algorithm>
#include <numeric>

namespace atlas::ui {

StackedHistogram::StackedHistogram(QWidget* parent) : QWidget(parent) {
    setObjectName("charts.histogram");
    setAccessibleName(tr("Histogram over the contexts"));
    setToolTip(tr("Number of contexts, coloured by their class"));
    setMinimumHeight(110);
}

void StackedHistogram::setCounts(std::vector<std::vector<int>> counts, std::vector<QColor> colors,
                                 const QString& title) {
    counts_ = std::move(counts);
    colors_ = std::move(colors);
    title_ = title;
    update();
}

void StackedHistogram::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.fillRect(rect(), palette().color(QPalette::Base));
    const QColor ink = palette().color(QPalette::Text);
    const double line = painter.fontMetrics().height() + 2;
    const QRectF plot(46, 6, width() - 58, height() - 2 * line - 10);
    int most = 1;
    for (const auto& bin : counts_)
        most = std::max(most, std::accumulate(bin.begin(), bin.end(), 0));
    const double w = plot.width() / static_cast<double>(kBins);
    for (size_t b = 0; b < counts_.size(); ++b) {
        double y = plot.bottom();
        for (size_t c = 0; c < counts_[b].size(); ++c) {
            const double h = plot.height() * counts_[b][c] / most;
            painter.fillRect(QRectF(plot.x() + static_cast<double>(b) * w + 1, y - h, w - 2, h),
                             c < colors_.size() ? colors_[c] : ink);
            y -= h;
        }
    }
    painter.setPen(ink);
    painter.drawLine(plot.bottomLeft(), plot.bottomRight());
    painter.drawText(QRectF(0, plot.top(), plot.left() - 6, line), Qt::AlignRight,
                     QString::number(most));
    painter.drawText(QRectF(0, plot.bottom() - line, plot.left() - 6, line), Qt::AlignRight, "0");
    for (int percent : {0, 50, 100}) {
        const QRectF at(plot.x() + plot.width() * percent / 100 - 30, plot.bottom() + 2, 60, line);
        painter.drawText(at, Qt::AlignHCenter, QString("%1 %").arg(percent));
    }
    painter.drawText(QRectF(plot.x(), plot.bottom() + 2 + line, plot.width(), line),
                     Qt::AlignHCenter, title_);
}

ResultCharts::ResultCharts(QWidget* parent) : QWidget(parent) {
    setObjectName("charts.panel");
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(6, 6, 6, 0);
    what_ = new QComboBox;
    what_->setObjectName("charts.what");
    what_->setAccessibleName(tr("What is counted"));
    what_->setToolTip(tr("Whose values over the contexts are shown"));
    auto* row = new QHBoxLayout;
    row->addWidget(what_);
    row->addStretch();
    layout->addLayout(row);
    chart_ = new StackedHistogram;
    layout->addWidget(chart_, 1);
    connect(what_, &QComboBox::currentIndexChanged, this, &ResultCharts::show);
}

void ResultCharts::setTiles(const std::vector<engine::TileRow>& tiles, const ModelLook& look) {
    tiles_ = tiles;
    look_ = look;
    const QSignalBlocker quiet(what_);
    what_->clear();
    what_->addItem(tr("certainty of the answer"));
    for (const auto& name : look.classNames) what_->addItem(tr("probability of %1").arg(name));
    if (!tiles.empty())
        for (size_t k = 0; k < tiles.front().meanMass.size(); ++k)
            what_->addItem(tr("attention on %1").arg(look.massTitle(k)));
    show(0);
}

void ResultCharts::show(int what) {
    const auto classes = static_cast<size_t>(look_.classNames.size());
    std::vector<std::vector<int>> counts(StackedHistogram::kBins, std::vector<int>(classes));
    for (const auto& t : tiles_) {
        const auto best = static_cast<size_t>(t.best());
        if (best >= classes) continue;
        const auto at = static_cast<size_t>(std::max(0, what));
        double value = t.probabilities[best];
        if (at > classes)
            value = at - classes - 1 < t.meanMass.size() ? t.meanMass[at - classes - 1] : 0;
        else if (at > 0)
            value = at - 1 < t.probabilities.size() ? t.probabilities[at - 1] : 0;
        const auto bin = static_cast<size_t>(std::clamp(value, 0.0, 1.0) *
                                             static_cast<double>(StackedHistogram::kBins));
        ++counts[std::min(bin, StackedHistogram::kBins - 1)][best];
    }
    chart_->setCounts(std::move(counts), look_.classColors, what_->itemText(std::max(0, what)));
}

}  // namespace atlas::ui
