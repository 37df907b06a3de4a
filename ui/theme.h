// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QString>

class QApplication;

namespace atlas::ui {

/// "dark" (the default) or "light": palette and style sheet of the whole program.
void applyTheme(QApplication& app, const QString& name);

}  // namespace atlas::ui
