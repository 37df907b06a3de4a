// SPDX-License-Identifier: Apache-2.0
// The images of a folder with thumbnails and run states; queue all or some of them.
#pragma once

#include <QLabel>
#include <QListWidget>
#include <QPushButton>
#include <QWidget>

#include "ui/background.h"

namespace atlas::ui {

class ImagesPanel : public QWidget {
    Q_OBJECT

  public:
    explicit ImagesPanel(QWidget* parent = nullptr);

    void setFolder(const QString& folder);
    /// A list of a project, under its name.
    void setImages(const QString& title, const QStringList& images);
    QString folder() const { return folder_; }
    QStringList images() const;
    QStringList chosen() const;
    void setState(const QString& image, const QString& state, const QString& detail);
    QString stateOf(const QString& image) const;
    /// Sees the work of thumbnails; for tests.
    void setWatch(const Background::Watch& watch) { thumbnails_.setWatch(watch); }

  Q_SIGNALS:
    void openAsked(QString image);
    void folderAsked();
    void queueAsked(QStringList images);

  private:
    void loadThumbnails();
    void showThumbnail(const QString& image, const QImage& picture);
    QListWidgetItem* itemOf(const QString& image) const;

    QString folder_;
    QLabel* title_;
    QListWidget* list_;
    QPushButton *queueAll_, *queueChosen_;
    int listNumber_ = 0;  ///< of the list that thumbnails are for
    Background thumbnails_;
};

}  // namespace atlas::ui
