// SPDX-License-Identifier: Apache-2.0
// The keys of every action: shown, searched, changed, and kept in the settings.
#pragma once

#include <QAction>
#include <QDialog>
#include <QKeySequenceEdit>
#include <QLabel>
#include <QTableWidget>
#include <vector>

namespace atlas::ui {

/// Gives actions the keys that the user has chosen before.
void restoreShortcuts(const std::vector<QAction*>& actions);

class ShortcutsPage : public QDialog {
    Q_OBJECT

  public:
    ShortcutsPage(std::vector<QAction*> actions, QWidget* parent);
    /// Says no, with the name of the action that has them, where the keys are taken.
    bool setKeys(int row, const QKeySequence& keys);
    QString note() const { return note_->text(); }

  private:
    void fill();

    std::vector<QAction*> actions_;
    QTableWidget* table_;
    QKeySequenceEdit* edit_;
    QLabel* note_;
};

}  // namespace atlas::ui
