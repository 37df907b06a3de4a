// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/comparison_page.h"

#include <QHeaderView>
#include <QLabel>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

namespace atlas::ui {

ComparisonPage::ComparisonPage(const engine::RunComparison& comparison, const QString& first,
                               const QString& second, QWidget* parent)
    : QDialog(parent) {
    setObjectName("comparison.dialog");
    setWindowTitle(tr("Two runs compared"));
    resize(640, 420);
    auto* layout = new QVBoxLayout(this);
    auto* text = new QLabel(tr("The runs agree on <b>%1 %</b> of the area. Rows: %2. Columns: %3. "
                               "Shares of what both classified; classes that neither gave are left "
                               "out. The layer \"difference\" shows where.")
                                .arg(100 * comparison.agreement(), 0, 'f', 1)
                                .arg(first.toHtmlEscaped(), second.toHtmlEscaped()));
    text->setObjectName("comparison.text");
    text->setWordWrap(true);
    layout->addWidget(text);
    std::vector<size_t> used;
    for (size_t c = 0; c < comparison.classNames.size(); ++c) {
        int64_t count = 0;
        for (size_t o = 0; o < comparison.classNames.size(); ++o)
            count += comparison.confusion[c][o] + comparison.confusion[o][c];
        if (count) used.push_back(c);
    }
    const int n = static_cast<int>(used.size());
    auto* table = new QTableWidget(n, n);
    table->setObjectName("comparison.table");
    table->setAccessibleName(tr("Confusion table"));
    table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    QStringList names;
    for (size_t c : used) names << QString::fromStdString(comparison.classNames[c]);
    table->setHorizontalHeaderLabels(names);
    table->setVerticalHeaderLabels(names);
    for (int row = 0; row < n; ++row)
        for (int column = 0; column < n; ++column) {
            const auto count =
                comparison
                    .confusion[used[static_cast<size_t>(row)]][used[static_cast<size_t>(column)]];
            const double share =
                static_cast<double>(count) / static_cast<double>(comparison.compared);
            auto* item = new QTableWidgetItem(count ? QString("%1 %").arg(100 * share, 0, 'f', 1)
                                                    : QString());
            item->setTextAlignment(Qt::AlignCenter);
            if (count) {
                QColor color = row == column ? QColor(0, 158, 115) : QColor(213, 94, 0);
                color.setAlphaF(static_cast<float>(0.15 + 0.6 * std::sqrt(share)));
                item->setBackground(color);
            }
            table->setItem(row, column, item);
        }
    table->resizeColumnsToContents();
    layout->addWidget(table, 1);
}

}  // namespace atlas::ui
