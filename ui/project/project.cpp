// SPDX-License-Identifier: Apache-2.0
#include "ui/project/project.h"

#include <QCryptographicHash>
#include <QDir>
#include <QFileInfo>
#include <QJsonArray>
#include <stdexcept>

#include "ui/project/json_file.h"

namespace atlas::ui {
namespace {
constexpr int kVersion = 1;
}

Project Project::create(const QString& folder) {
    Project project;
    project.folder_ = QDir(folder).absolutePath();
    if (QFileInfo::exists(QDir(folder).filePath(kFile)))
        throw std::runtime_error(
            QString("%1: there is a project already").arg(folder).toStdString());
    project.save();
    return project;
}

Project Project::open(const QString& path) {
    const QFileInfo info(path);
    Project project;
    project.folder_ = info.isDir() ? QDir(path).absolutePath() : info.absolutePath();
    const QDir folder(project.folder_);
    const QJsonObject text = readJson(folder.filePath(kFile));
    if (text.value("atlasscope_project").toInt() != kVersion)
        throw std::runtime_error(
            QString("%1: is no project of this version").arg(folder.filePath(kFile)).toStdString());
    for (const auto& image : text.value("images").toArray()) {
        const QString name = image.toString();
        if (name.isEmpty()) continue;
        project.images_ << (name.contains(':') ? name
                                               : QDir::cleanPath(folder.absoluteFilePath(name)));
    }
    project.settings_ = text.value("settings").toObject();
    return project;
}

QString Project::name() const {
    return QDir(folder_).dirName();
}

QString Project::runsFolder() const {
    return QDir(folder_).filePath("runs");
}

QString Project::tagOf(const QString& image) const {
    const QString name = QFileInfo(image).fileName();
    for (const auto& other : images_) {
        if (other == image) return {};
        if (QFileInfo(other).fileName() == name)
            return "-" + QCryptographicHash::hash(image.toUtf8(), QCryptographicHash::Sha256)
                             .toHex()
                             .left(8);
    }
    return {};
}

void Project::add(const QStringList& images) {
    const QStringList before = images_;
    for (const auto& image : images) {
        const QString path = QFileInfo::exists(image) ? QFileInfo(image).absoluteFilePath() : image;
        if (!images_.contains(path)) images_ << path;
    }
    try {
        save();
    } catch (...) {
        images_ = before;
        throw;
    }
}

void Project::remove(const QString& image) {
    images_.removeAll(image);
    save();
}

void Project::setSettings(const QJsonObject& settings) {
    if (settings == settings_) return;
    settings_ = settings;
    save();
}

void Project::save() const {
    QJsonArray images;
    const QDir folder(folder_);
    for (const auto& image : images_) {
        const QString relative = folder.relativeFilePath(image);
        images.append(relative.startsWith("..") || QDir::isAbsolutePath(relative) ? image
                                                                                  : relative);
    }
    writeJson(folder.filePath(kFile),
              {{"atlasscope_project", kVersion}, {"images", images}, {"settings", settings_}});
}

}  // namespace atlas::ui
