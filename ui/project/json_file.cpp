// SPDX-License-Identifier: Apache-2.0
#include "ui/project/json_file.h"

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonDocument>
#include <QSaveFile>
#include <stdexcept>

namespace atlas::ui {

void writeJson(const QString& path, const QJsonObject& object) {
    QDir().mkpath(QFileInfo(path).absolutePath());
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly) || file.write(QJsonDocument(object).toJson()) < 0 ||
        !file.commit())
        throw std::runtime_error(
            QString("%1: cannot be written: %2").arg(path, file.errorString()).toStdString());
}

QJsonObject readJson(const QString& path, qint64 mostBytes) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly))
        throw std::runtime_error(
            QString("%1: cannot be opened: %2").arg(path, file.errorString()).toStdString());
    if (file.size() > mostBytes)
        throw std::runtime_error(QString("%1: is too large").arg(path).toStdString());
    QJsonParseError error;
    const auto document = QJsonDocument::fromJson(file.readAll(), &error);
    if (!document.isObject())
        throw std::runtime_error(QString("%1: byte %2: %3")
                                     .arg(path)
                                     .arg(error.offset)
                                     .arg(error.error == QJsonParseError::NoError
                                              ? QString("is no object")
                                              : error.errorString())
                                     .toStdString());
    return document.object();
}

}  // namespace atlas::ui
