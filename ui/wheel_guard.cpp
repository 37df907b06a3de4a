// SPDX-License-Identifier: Apache-2.0
#include "ui/wheel_guard.h"

#include <QAbstractSpinBox>
#include <QApplication>
#include <QComboBox>
#include <QSlider>
#include <QWheelEvent>

namespace atlas::ui {
namespace {

bool changesByWheel(const QWidget* widget) {
    return qobject_cast<const QComboBox*>(widget) ||
           qobject_cast<const QAbstractSpinBox*>(widget) || qobject_cast<const QSlider*>(widget);
}

/// The control that a widget is, or is the line of; nullptr where it is part of none. Lists that
/// drop down are windows of their own.
QWidget* controlOf(QWidget* widget) {
    for (; widget; widget = widget->isWindow() ? nullptr : widget->parentWidget())
        if (changesByWheel(widget)) return widget;
    return nullptr;
}

}  // namespace

void WheelGuard::install() {
    static const char* kName = "wheel guard";
    if (qApp->findChild<QObject*>(kName, Qt::FindDirectChildrenOnly)) return;
    auto* guard = new WheelGuard(qApp);
    guard->setObjectName(kName);
    qApp->installEventFilter(guard);
}

bool WheelGuard::eventFilter(QObject* watched, QEvent* event) {
    if (event->type() != QEvent::Wheel && event->type() != QEvent::Polish) return false;
    auto* widget = qobject_cast<QWidget*>(watched);
    if (!widget) return false;
    if (event->type() == QEvent::Polish) {
        if (changesByWheel(widget) && widget->focusPolicy() == Qt::WheelFocus)
            widget->setFocusPolicy(Qt::StrongFocus);
        return false;
    }
    const QWidget* control = controlOf(widget);
    if (!control || control->hasFocus() ||
        (QApplication::focusWidget() && control->isAncestorOf(QApplication::focusWidget())))
        return false;
    event->ignore();  // goes to the widget around it
    return true;
}

}  // namespace atlas::ui
