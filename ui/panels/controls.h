// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QPushButton>

namespace atlas::ui {

/// A button that tests, scripts and screen readers find by its name.
inline QPushButton* namedButton(const char* name, const QString& text, const QString& tip) {
    auto* button = new QPushButton(text);
    button->setObjectName(name);
    button->setToolTip(tip);
    return button;
}

}  // namespace atlas::ui
