// SPDX-License-Identifier: Apache-2.0
// How far two runs agree: which classes of one became which of the other.
#pragma once

#include <QDialog>
#include <QTableWidget>

#include "engine/pipeline/compare_runs.h"

namespace atlas::ui {

class ComparisonPage : public QDialog {
    Q_OBJECT

  public:
    ComparisonPage(const engine::RunComparison& comparison, const QString& first,
                   const QString& second, QWidget* parent);
};

}  // namespace atlas::ui
