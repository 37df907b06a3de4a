// SPDX-License-Identifier: Apache-2.0
// Small JSON files that are whole at any moment.
#pragma once

#include <QJsonObject>
#include <QString>

namespace atlas::ui {

/// Writes under a temporary name, then renames; makes the folder. Throws std::runtime_error with
/// path and cause.
void writeJson(const QString& path, const QJsonObject& object);

/// Throws std::runtime_error with path, place and cause; `mostBytes` keeps hostile files out.
QJsonObject readJson(const QString& path, qint64 mostBytes = qint64{16} << 20);

}  // namespace atlas::ui
