// SPDX-License-Identifier: Apache-2.0
// What a person does to the window: menus opened by mouse and chosen from by keys, lists taken,
// dialogs answered by typing. Nothing here calls a function of the window.
#pragma once

#include <gtest/gtest.h>

#include <QAbstractItemView>
#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QDialogButtonBox>
#include <QFileDialog>
#include <QInputDialog>
#include <QLineEdit>
#include <QListWidget>
#include <QMenu>
#include <QMenuBar>
#include <QPointer>
#include <QPushButton>
#include <QTest>
#include <QTimer>
#include <functional>

#include "ui/main_window/main_window.h"

namespace atlas::ui::hands {

/// The way from the menu bar to an action: menus, outermost first; empty where there is none.
inline QList<QMenu*> menusTo(QWidget* where, QAction* wanted) {
    for (QAction* action : where->actions()) {
        if (!action->menu()) continue;
        if (action->menu()->actions().contains(wanted)) return {action->menu()};
        if (auto inner = menusTo(action->menu(), wanted); !inner.isEmpty()) {
            inner.prepend(action->menu());
            return inner;
        }
    }
    return {};
}

/// Opens the menu by mouse, goes down to the action by the arrow keys, and presses Return.
inline void choose(MainWindow& window, QAction* action) {
    ASSERT_NE(action, nullptr);
    const auto way = menusTo(window.menuBar(), action);
    ASSERT_FALSE(way.isEmpty()) << action->text().toStdString() << " is in no menu";
    QTest::mouseClick(window.menuBar(), Qt::LeftButton, {},
                      window.menuBar()->actionGeometry(way[0]->menuAction()).center());
    for (int i = 0; i < way.size(); ++i) {
        ASSERT_TRUE(QTest::qWaitForWindowExposed(way[i])) << way[i]->title().toStdString();
        QAction* next = i + 1 < way.size() ? way[i + 1]->menuAction() : action;
        EXPECT_TRUE(next->isEnabled()) << next->text().toStdString();
        for (int k = 0; k < way[i]->actions().size() && way[i]->activeAction() != next; ++k)
            QTest::keyClick(way[i], Qt::Key_Down);
        ASSERT_EQ(way[i]->activeAction(), next) << next->text().toStdString();
        QTest::keyClick(way[i], next == action ? Qt::Key_Return : Qt::Key_Right);
    }
    for (auto* menu : way) EXPECT_FALSE(menu->isVisible()) << menu->title().toStdString();
}

inline void choose(MainWindow& window, const char* action) {
    choose(window, window.actionNamed(action));
}

/// The entry of a menu with this text, as a person finds it; nullptr where there is none.
inline QAction* entry(QMenu* menu, const QString& text) {
    for (auto* action : menu->actions())
        if (action->text() == text) return action;
    return nullptr;
}

/// Does something that opens a modal dialog, and answers it. Fails where none of the kind comes,
/// and where the answer does not close it.
template <typename Dialog>
void answer(const std::function<void()>& open, const std::function<void(Dialog*)>& reply) {
    bool answered = false;
    QTimer watch;
    QObject::connect(&watch, &QTimer::timeout, [&] {
        auto* dialog = qobject_cast<Dialog*>(QApplication::activeModalWidget());
        if (!dialog || answered) return;
        answered = true;
        watch.stop();
        reply(dialog);
        if (!QTest::qWaitFor([open = QPointer(dialog)] { return !open || !open->isVisible(); },
                             3000)) {
            ADD_FAILURE() << dialog->windowTitle().toStdString() << " stays open";
            dialog->reject();
        }
    });
    watch.start(20);
    open();
    EXPECT_TRUE(QTest::qWaitFor([&] { return answered; }, 5000)) << "no dialog came";
}

/// Pastes a path into the file dialog that comes (its completion would rewrite what is typed) and
/// accepts it.
inline void pickFile(const std::function<void()>& open, const QString& path) {
    answer<QFileDialog>(open, [&](QFileDialog* dialog) {
        auto* line = dialog->findChild<QLineEdit*>("fileNameEdit");
        ASSERT_NE(line, nullptr);
        line->selectAll();
        QApplication::clipboard()->setText(path);
        QTest::keyClick(line, Qt::Key_V, Qt::ControlModifier);
        auto* box = dialog->findChild<QDialogButtonBox*>("buttonBox");
        const auto buttons = box->buttons();
        for (auto* button : buttons)  // a completer may keep the Return key
            if (box->buttonRole(button) == QDialogButtonBox::AcceptRole)
                return QTest::mouseClick(button, Qt::LeftButton);
        FAIL() << "the dialog has no button to accept";
    });
}

/// Types into the line of the input dialog that comes, and presses Return.
inline void typeIn(const std::function<void()>& open, const QString& text) {
    answer<QInputDialog>(open, [&](QInputDialog* dialog) {
        auto* line = dialog->findChild<QLineEdit*>();
        ASSERT_NE(line, nullptr);
        line->selectAll();
        QTest::keyClicks(line, text);
        QTest::keyClick(line, Qt::Key_Return);
    });
}

/// Opens a box of choices by mouse and takes one by keys.
inline void take(QComboBox* box, int index) {
    ASSERT_NE(box, nullptr);
    ASSERT_LT(index, box->count());
    ASSERT_TRUE(box->isVisible()) << box->objectName().toStdString();
    QTest::mouseClick(box, Qt::LeftButton, {}, QPoint(box->width() / 2, box->height() / 2));
    ASSERT_TRUE(QTest::qWaitFor([&] { return box->view()->isVisible(); }, 3000));
    QTest::keyClick(box->view(), Qt::Key_Home);
    for (int i = 0; i < index; ++i) QTest::keyClick(box->view(), Qt::Key_Down);
    QTest::keyClick(box->view(), Qt::Key_Return);
    EXPECT_EQ(box->currentIndex(), index) << box->objectName().toStdString();
}

/// Clicks the box before a line of a list.
inline void tick(QListWidget* list, int row) {
    const QRect line = list->visualItemRect(list->item(row));
    QTest::mouseClick(list->viewport(), Qt::LeftButton, {},
                      QPoint(line.left() + 10, line.center().y()));
}

/// Clicks a line of a list.
inline void pick(QAbstractItemView* list, int row) {
    const QModelIndex index = list->model()->index(row, 0);
    list->scrollTo(index);
    const QRect line = list->visualRect(index);
    QTest::mouseClick(list->viewport(), Qt::LeftButton, {},
                      QPoint(line.left() + std::min(60, line.width() / 2), line.center().y()));
}

/// Presses, moves in steps, and releases.
inline void drag(QWidget* where, const QList<QPoint>& path, Qt::KeyboardModifiers keys = {}) {
    QTest::mousePress(where, Qt::LeftButton, keys, path.first());
    for (const auto& point : path.mid(1)) QTest::mouseMove(where, point);
    QTest::mouseRelease(where, Qt::LeftButton, keys, path.last());
}

/// Moves a slider to a value by its keys.
inline void slide(QSlider* slider, int value) {
    ASSERT_TRUE(slider->isVisible()) << slider->objectName().toStdString();
    slider->setFocus();
    const auto press = [&](Qt::Key key, int steps) {
        for (int i = 0; i < steps; ++i) QTest::keyClick(slider, key);
    };
    const int way = value - slider->value(), page = slider->pageStep();
    press(way > 0 ? Qt::Key_PageUp : Qt::Key_PageDown, std::abs(way) / page);
    press(way > 0 ? Qt::Key_Right : Qt::Key_Left, std::abs(way) % page);
    EXPECT_EQ(slider->value(), value) << slider->objectName().toStdString();
}

}  // namespace atlas::ui::hands
