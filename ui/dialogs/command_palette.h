// SPDX-License-Identifier: Apache-2.0
// Every action of the window by name: type some letters, choose, Return.
#pragma once

#include <QAction>
#include <QDialog>
#include <QLineEdit>
#include <QListWidget>
#include <vector>

namespace atlas::ui {

class CommandPalette : public QDialog {
    Q_OBJECT

  public:
    /// `actions` outlive the dialog.
    CommandPalette(std::vector<QAction*> actions, QWidget* parent);
    /// The names that match what has been typed, best first.
    QStringList offered() const;

  protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

  private:
    void search(const QString& text);
    void take();

    std::vector<QAction*> actions_;
    QLineEdit* line_;
    QListWidget* list_;
};

}  // namespace atlas::ui
