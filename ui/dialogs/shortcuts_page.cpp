// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/shortcuts_page.h"

#include <QHBoxLayout>
#include <QHeaderView>
#include <QPushButton>
#include <QSettings>
#include <QVBoxLayout>

namespace atlas::ui {
namespace {

QString settingOf(const QAction* action) {
    return "keys/" + action->objectName();
}

}  // namespace

void restoreShortcuts(const std::vector<QAction*>& actions) {
    const QSettings settings;
    for (auto* action : actions) {
        action->setProperty("defaultKeys", action->shortcut().toString());
        if (settings.contains(settingOf(action)))
            action->setShortcut(QKeySequence(settings.value(settingOf(action)).toString()));
    }
}

ShortcutsPage::ShortcutsPage(std::vector<QAction*> actions, QWidget* parent)
    : QDialog(parent), actions_(std::move(actions)) {
    setObjectName("shortcuts.dialog");
    setWindowTitle(tr("Keyboard shortcuts"));
    resize(560, 560);
    auto* layout = new QVBoxLayout(this);
    auto* hint = new QLabel(
        tr("Mouse: wheel zooms at the pointer, drag pans, double click zooms in. Choose a row and "
           "press other keys below to change them."));
    hint->setWordWrap(true);
    layout->addWidget(hint);
    table_ = new QTableWidget(0, 2);
    table_->setObjectName("shortcuts.table");
    table_->setAccessibleName(tr("Actions and their keys"));
    table_->setHorizontalHeaderLabels({tr("Action"), tr("Keys")});
    table_->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
    table_->horizontalHeader()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
    table_->verticalHeader()->hide();
    table_->setEditTriggers(QAbstractItemView::NoEditTriggers);
    table_->setSelectionBehavior(QAbstractItemView::SelectRows);
    table_->setSelectionMode(QAbstractItemView::SingleSelection);
    layout->addWidget(table_, 1);
    note_ = new QLabel;
    note_->setObjectName("shortcuts.note");
    note_->setWordWrap(true);
    layout->addWidget(note_);
    auto* row = new QHBoxLayout;
    edit_ = new QKeySequenceEdit;
    edit_->setObjectName("shortcuts.edit");
    edit_->setToolTip(tr("Press the new keys of the chosen action"));
    auto* set = new QPushButton(tr("Set"));
    set->setObjectName("shortcuts.set");
    set->setToolTip(tr("Give these keys to the chosen action"));
    auto* reset = new QPushButton(tr("Default"));
    reset->setObjectName("shortcuts.reset");
    reset->setToolTip(tr("The chosen action's own keys again"));
    auto* close = new QPushButton(tr("Close"));
    close->setObjectName("shortcuts.close");
    close->setToolTip(tr("Close this page (Esc)"));
    row->addWidget(edit_, 1);
    row->addWidget(set);
    row->addWidget(reset);
    row->addWidget(close);
    layout->addLayout(row);
    connect(set, &QPushButton::clicked, this,
            [this] { setKeys(table_->currentRow(), edit_->keySequence()); });
    connect(reset, &QPushButton::clicked, this, [this] {
        const int at = table_->currentRow();
        if (at >= 0)
            setKeys(at, QKeySequence(
                            actions_[static_cast<size_t>(at)]->property("defaultKeys").toString()));
    });
    connect(close, &QPushButton::clicked, this, &QDialog::accept);
    fill();
}

void ShortcutsPage::fill() {
    const int before = table_->currentRow();
    table_->setRowCount(static_cast<int>(actions_.size()));
    for (size_t i = 0; i < actions_.size(); ++i) {
        const int row = static_cast<int>(i);
        table_->setItem(row, 0, new QTableWidgetItem(QString(actions_[i]->text()).remove('&')));
        table_->setItem(
            row, 1,
            new QTableWidgetItem(actions_[i]->shortcut().toString(QKeySequence::NativeText)));
    }
    table_->setCurrentCell(std::max(0, before), 0);
}

bool ShortcutsPage::setKeys(int row, const QKeySequence& keys) {
    if (row < 0 || static_cast<size_t>(row) >= actions_.size()) return false;
    auto* action = actions_[static_cast<size_t>(row)];
    for (const auto* other : actions_)
        if (other != action && !keys.isEmpty() && other->shortcut() == keys) {
            note_->setText(tr("%1 is taken by \"%2\".")
                               .arg(keys.toString(QKeySequence::NativeText),
                                    QString(other->text()).remove('&')));
            return false;
        }
    note_->clear();
    action->setShortcut(keys);
    QSettings settings;
    if (keys.toString() == action->property("defaultKeys").toString())
        settings.remove(settingOf(action));
    else
        settings.setValue(settingOf(action), keys.toString());
    fill();
    return true;
}

}  // namespace atlas::ui
