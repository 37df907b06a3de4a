// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/command_palette.h"

#include <QKeyEvent>
#include <QVBoxLayout>
#include <algorithm>

namespace atlas::ui {
namespace {

QString plainText(const QAction* action) {
    return QString(action->text()).remove('&').remove(QStringLiteral(" …"));
}

/// Every word must occur; what starts with the text comes first.
int rank(const QString& name, const QString& text) {
    if (text.isEmpty()) return 1;
    if (name.startsWith(text, Qt::CaseInsensitive)) return 0;
    const auto words = text.split(' ', Qt::SkipEmptyParts);
    return std::all_of(words.begin(), words.end(),
                       [&](const QString& w) { return name.contains(w, Qt::CaseInsensitive); })
               ? 1
               : -1;
}

}  // namespace

CommandPalette::CommandPalette(std::vector<QAction*> actions, QWidget* parent)
    : QDialog(parent), actions_(std::move(actions)) {
    setObjectName("palette.dialog");
    setWindowTitle(tr("Commands"));
    resize(460, 380);
    auto* layout = new QVBoxLayout(this);
    line_ = new QLineEdit;
    line_->setObjectName("palette.line");
    line_->setPlaceholderText(tr("Type what you want to do"));
    line_->setClearButtonEnabled(true);
    list_ = new QListWidget;
    list_->setObjectName("palette.list");
    list_->setAccessibleName(tr("Commands"));
    layout->addWidget(line_);
    layout->addWidget(list_, 1);
    line_->installEventFilter(this);
    connect(line_, &QLineEdit::textChanged, this, &CommandPalette::search);
    connect(list_, &QListWidget::itemActivated, this, &CommandPalette::take);
    search({});
}

QStringList CommandPalette::offered() const {
    QStringList names;
    for (int i = 0; i < list_->count(); ++i)
        names << list_->item(i)->data(Qt::UserRole + 1).toString();
    return names;
}

void CommandPalette::search(const QString& text) {
    list_->clear();
    for (int wanted : {0, 1})
        for (size_t i = 0; i < actions_.size(); ++i) {
            const QString name = plainText(actions_[i]);
            if (rank(name, text.trimmed()) != wanted) continue;
            const QString keys = actions_[i]->shortcut().toString(QKeySequence::NativeText);
            auto* item = new QListWidgetItem(keys.isEmpty() ? name : name + "\t" + keys);
            item->setText(keys.isEmpty() ? name : QString("%1   (%2)").arg(name, keys));
            item->setData(Qt::UserRole, static_cast<qulonglong>(i));
            item->setData(Qt::UserRole + 1, name);
            if (!actions_[i]->isEnabled()) item->setFlags(Qt::NoItemFlags);
            list_->addItem(item);
        }
    list_->setCurrentRow(0);
}

void CommandPalette::take() {
    const auto* item = list_->currentItem();
    if (!item || !item->flags().testFlag(Qt::ItemIsEnabled)) return;
    QAction* action = actions_[item->data(Qt::UserRole).toULongLong()];
    accept();
    action->trigger();
}

bool CommandPalette::eventFilter(QObject* watched, QEvent* event) {
    if (event->type() == QEvent::KeyPress) {
        const auto* key = static_cast<QKeyEvent*>(event);
        const int step = key->key() == Qt::Key_Down ? 1 : key->key() == Qt::Key_Up ? -1 : 0;
        if (step) {
            list_->setCurrentRow(std::clamp(list_->currentRow() + step, 0, list_->count() - 1));
            return true;
        }
        if (key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter) {
            take();
            return true;
        }
    }
    return QDialog::eventFilter(watched, event);
}

}  // namespace atlas::ui
