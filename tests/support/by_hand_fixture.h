// SPDX-License-Identifier: Apache-2.0
// A window that is used by mouse and keys alone.
#pragma once

#include <QDockWidget>
#include <QTabBar>

#include "tests/support/hands.h"
#include "tests/support/window_fixture.h"

namespace atlas::ui {

using namespace hands;

class ByHandTest : public WindowTest {
  protected:
    static constexpr const char* kScene = "synthetic:size=4096,seed=21";
    Canvas* canvas() { return window_->canvas(); }
    void still() {
        QTest::qWait(60);
        ASSERT_TRUE(settle());
    }
    void key(Qt::Key k, Qt::KeyboardModifiers with = {}) {
        QApplication::setActiveWindow(window_.get());  // no window manager gives the focus back
        QTest::keyClick(window_.get(), k, with);
    }
    template <typename W>
    W* find(const char* name) {
        auto* w = window_->findChild<W*>(name);
        EXPECT_NE(w, nullptr) << name;
        return w;
    }
    void click(const char* button) {
        auto* b = find<QAbstractButton>(button);
        ASSERT_TRUE(b->isVisible()) << button;
        QTest::mouseClick(b, Qt::LeftButton, {}, QPoint(8, b->height() / 2));
    }
    QPoint view(double x, double y) {
        return canvas()->transform().viewFromImage(QPointF(x, y)).toPoint();
    }
    void type(QLineEdit* line, const QString& text) {
        line->setFocus();
        line->selectAll();
        QTest::keyClicks(line, text);
        QTest::keyClick(line, Qt::Key_Return);
    }
    /// A dock that is behind others comes to the front by its tab.
    void raise(const char* dock) {
        auto* d = find<QDockWidget>(dock);
        for (auto* tabs : window_->findChildren<QTabBar*>())
            for (int i = 0; i < tabs->count(); ++i)
                if (tabs->tabText(i) == d->windowTitle() && tabs->isVisible())
                    QTest::mouseClick(tabs, Qt::LeftButton, {}, tabs->tabRect(i).center());
        ASSERT_TRUE(QTest::qWaitFor([&] { return !d->visibleRegion().isEmpty(); }, 3000)) << dock;
    }
    void run() {
        auto* models = find<QComboBox>("run.model");
        take(models, models->findText("scenes", Qt::MatchStartsWith));
        key(Qt::Key_R, Qt::ControlModifier);
        ASSERT_TRUE(QTest::qWaitFor([&] { return window_->runs()->busy(); }, 5000));
        ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 120000));
        ASSERT_TRUE(settle());
        still();
    }
    QJsonObject layer(const char* id) { return values()["layers"].toObject()[id].toObject(); }
    QString inFolder(const char* name) {
        return QString::fromStdString((folder_.path() / name).string());
    }
};

}  // namespace atlas::ui
