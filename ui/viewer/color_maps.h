// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QColor>
#include <QString>
#include <QStringList>

namespace atlas::ui {

/// Perceptually even, colour-blind safe maps: viridis, cividis, magma, inferno.
QStringList colorMapNames();

/// Colour at t in [0, 1]; viridis for an unknown name.
QColor colorAt(const QString& map, double t);

}  // namespace atlas::ui
