// SPDX-License-Identifier: Apache-2.0
// Keeps the wheel from changing values by accident: a drop-down, a spin box or a slider takes it
// only while it has the keyboard focus, which the wheel does not give. Else the panel around it
// scrolls.
#pragma once

#include <QObject>

namespace atlas::ui {

class WheelGuard : public QObject {
    Q_OBJECT

  public:
    /// For every window of the program; a second call does nothing.
    static void install();

  protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

  private:
    using QObject::QObject;
};

}  // namespace atlas::ui
