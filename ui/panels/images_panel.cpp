// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/images_panel.h"

#include <QDir>
#include <QFileInfo>
#include <QIcon>
#include <QPainter>
#include <QVBoxLayout>

#include "io/color_source.h"
#include "io/reader_registry.h"

namespace atlas::ui {
namespace {

constexpr int kThumbnailPx = 72;
enum Role { kPath = Qt::UserRole, kState };

/// A square picture of the whole image; null where it cannot be read.
QImage thumbnailOf(const QString& path) {
    try {
        const auto source = io::openImage(path.toStdString());
        const auto cache = std::make_shared<io::TileCache>(size_t{32} << 20);
        const io::ColorSource image(source, io::defaultDisplay(source->info()), cache);
        const auto& full = source->info().levels[0];
        const double longest = static_cast<double>(std::max(full.width, full.height));
        const int w =
            std::max(1, static_cast<int>(static_cast<double>(full.width) / longest * kThumbnailPx));
        const int h = std::max(
            1, static_cast<int>(static_cast<double>(full.height) / longest * kThumbnailPx));
        const auto small = image.resample(0, 0, static_cast<double>(full.width),
                                          static_cast<double>(full.height), w, h);
        QImage square(kThumbnailPx, kThumbnailPx, QImage::Format_ARGB32_Premultiplied);
        square.fill(Qt::transparent);
        QPainter painter(&square);
        painter.drawImage((kThumbnailPx - w) / 2, (kThumbnailPx - h) / 2,
                          QImage(small.rgba.data(), w, h, 4 * w, QImage::Format_RGBA8888));
        return square;
    } catch (const std::exception&) {
        return {};
    }
}

}  // namespace

ImagesPanel::ImagesPanel(QWidget* parent) : QWidget(parent) {
    setObjectName("images.panel");
    auto* layout = new QVBoxLayout(this);
    title_ =
        new QLabel(tr("Choose or drop a folder: its images will be listed here, to open one or to "
                      "classify them all."));
    title_->setWordWrap(true);
    title_->setProperty("faint", true);
    auto* choose = new QPushButton(tr("Choose folder …"));
    choose->setObjectName("images.choose");
    choose->setToolTip(tr("List the images of a folder (Ctrl+Shift+O)"));
    list_ = new QListWidget;
    list_->setObjectName("images.list");
    list_->setAccessibleName(tr("Images of the folder"));
    list_->setIconSize({kThumbnailPx, kThumbnailPx});
    list_->setSelectionMode(QAbstractItemView::ExtendedSelection);
    list_->setWordWrap(true);
    list_->setToolTip(tr("Double-click opens an image"));
    queueAll_ = new QPushButton(tr("Run all"));
    queueAll_->setObjectName("images.runAll");
    queueAll_->setToolTip(
        tr("Classify every image of the folder, one after another, with the settings of the run "
           "panel"));
    queueChosen_ = new QPushButton(tr("Run selected"));
    queueChosen_->setObjectName("images.runSelected");
    queueChosen_->setToolTip(tr("Classify the selected images"));
    queueAll_->setEnabled(false);
    queueChosen_->setEnabled(false);
    auto* buttons = new QHBoxLayout;
    buttons->addWidget(queueAll_);
    buttons->addWidget(queueChosen_);
    layout->addWidget(choose);
    layout->addWidget(title_);
    layout->addWidget(list_, 1);
    layout->addLayout(buttons);
    connect(choose, &QPushButton::clicked, this, &ImagesPanel::folderAsked);
    connect(list_, &QListWidget::itemActivated, this,
            [this](QListWidgetItem* item) { Q_EMIT openAsked(item->data(kPath).toString()); });
    connect(list_, &QListWidget::itemSelectionChanged, this,
            [this] { queueChosen_->setEnabled(!list_->selectedItems().isEmpty()); });
    connect(queueAll_, &QPushButton::clicked, this, [this] { Q_EMIT queueAsked(images()); });
    connect(queueChosen_, &QPushButton::clicked, this, [this] { Q_EMIT queueAsked(chosen()); });
}

void ImagesPanel::setFolder(const QString& folder) {
    QStringList images;
    for (const auto& entry : QDir(folder).entryInfoList(QDir::Files, QDir::Name))
        if (io::looksLikeImage(entry.filePath().toStdString())) images << entry.filePath();
    setImages(QDir(folder).dirName(), images);
    if (images.isEmpty()) title_->setText(tr("%1 holds no images that can be read").arg(folder));
    folder_ = folder;
}

void ImagesPanel::setImages(const QString& title, const QStringList& images) {
    folder_.clear();
    thumbnails_.forgetAll();
    ++listNumber_;
    list_->clear();
    for (const auto& image : images) {
        auto* item = new QListWidgetItem(QFileInfo(image).fileName(), list_);
        item->setData(kPath, image);
        QPixmap blank(kThumbnailPx, kThumbnailPx);
        blank.fill(Qt::transparent);
        item->setIcon(QIcon(blank));
    }
    title_->setText(images.isEmpty()
                        ? tr("%1: no images yet. Open one, or drop some here.").arg(title)
                    : list_->count() == 1 ? tr("%1: 1 image").arg(title)
                                          : tr("%1: %2 images").arg(title).arg(list_->count()));
    queueAll_->setEnabled(list_->count() > 0);
    loadThumbnails();
}

void ImagesPanel::loadThumbnails() {
    thumbnails_.start("thumbnails", {},
                      [this, paths = images(),
                       list = listNumber_](const std::stop_token& stop) -> Background::Then {
                          for (const auto& path : paths) {
                              if (stop.stop_requested()) break;
                              const QImage picture = thumbnailOf(path);
                              QMetaObject::invokeMethod(
                                  this,
                                  [this, path, picture, list] {
                                      if (list == listNumber_) showThumbnail(path, picture);
                                  },
                                  Qt::QueuedConnection);
                          }
                          return {};
                      },
                      {});
}

void ImagesPanel::showThumbnail(const QString& image, const QImage& picture) {
    auto* item = itemOf(image);
    if (!item) return;
    if (picture.isNull())
        item->setToolTip(tr("cannot be read"));
    else
        item->setIcon(QIcon(QPixmap::fromImage(picture)));
}

QListWidgetItem* ImagesPanel::itemOf(const QString& image) const {
    for (int i = 0; i < list_->count(); ++i)
        if (list_->item(i)->data(kPath).toString() == image) return list_->item(i);
    return nullptr;
}

QStringList ImagesPanel::images() const {
    QStringList paths;
    for (int i = 0; i < list_->count(); ++i) paths << list_->item(i)->data(kPath).toString();
    return paths;
}

QStringList ImagesPanel::chosen() const {
    QStringList paths;
    for (auto* item : list_->selectedItems()) paths << item->data(kPath).toString();
    return paths;
}

void ImagesPanel::setState(const QString& image, const QString& state, const QString& detail) {
    auto* item = itemOf(image);
    if (!item) return;
    item->setData(kState, state);
    item->setText(QFileInfo(image).fileName() + "\n" + state);
    item->setToolTip(detail);
}

QString ImagesPanel::stateOf(const QString& image) const {
    const auto* item = itemOf(image);
    return item ? item->data(kState).toString() : QString();
}

}  // namespace atlas::ui
