// SPDX-License-Identifier: Apache-2.0
// A project: a folder with a list of images, the runs and annotations of them, and settings.
#pragma once

#include <QJsonObject>
#include <QStringList>

namespace atlas::ui {

class Project {
  public:
    static constexpr const char* kFile = "atlasscope-project.json";

    /// Makes the folder and its file. Throws std::runtime_error with path and cause, also where a
    /// project is there already.
    static Project create(const QString& folder);
    /// A folder or the file in it. Throws std::runtime_error with path and cause.
    static Project open(const QString& path);

    const QString& folder() const { return folder_; }
    QString name() const;
    /// Absolute paths; images below the folder are stored relative to it.
    const QStringList& images() const { return images_; }
    /// Each is there once.
    void add(const QStringList& images);
    void remove(const QString& image);
    /// What tells files of this image from those of an earlier image of the same name; empty where
    /// there is none.
    QString tagOf(const QString& image) const;
    /// Where results and annotations of its images go.
    QString runsFolder() const;
    const QJsonObject& settings() const { return settings_; }
    void setSettings(const QJsonObject& settings);

  private:
    void save() const;

    QString folder_;
    QStringList images_;
    QJsonObject settings_;
};

}  // namespace atlas::ui
