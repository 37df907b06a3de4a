// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/gallery.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QPainter>
#include <QVBoxLayout>
#include <algorithm>
#include <numeric>

namespace atlas::ui {
namespace {
constexpr int kPicturePx = 96, kBarPx = 5;

/// The context over a bar of its class' colour.
QImage pictureOf(const engine::TileRow& tile, const io::ColorSource& image, const QColor& color) {
    QImage picture(kPicturePx, kPicturePx, QImage::Format_ARGB32_Premultiplied);
    picture.fill(Qt::transparent);
    QPainter painter(&picture);
    try {
        const auto small = image.resample(tile.x, tile.y, tile.width, tile.height, kPicturePx,
                                          kPicturePx - kBarPx);
        painter.drawImage(0, 0,
                          QImage(small.rgba.data(), small.width, small.height, 4 * small.width,
                                 QImage::Format_RGBA8888));
    } catch (const std::exception&) {
        // stays empty: the canvas says what is wrong with this place
    }
    painter.fillRect(0, kPicturePx - kBarPx, kPicturePx, kBarPx, color);
    return picture;
}

}  // namespace

Gallery::Gallery(QWidget* parent) : QWidget(parent) {
    setObjectName("gallery.panel");
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(6, 6, 6, 0);
    auto* row = new QHBoxLayout;
    row->addWidget(new QLabel(tr("Show the")));
    order_ = new QComboBox;
    order_->setObjectName("gallery.order");
    order_->setAccessibleName(tr("Which contexts"));
    order_->setToolTip(tr("Which contexts come first"));
    order_->addItems({tr("least certain"), tr("most certain"), tr("most unlike their neighbours")});
    row->addWidget(order_);
    class_ = new QComboBox;
    class_->setObjectName("gallery.class");
    class_->setAccessibleName(tr("Class"));
    class_->setToolTip(tr("Contexts of this class alone"));
    row->addWidget(class_);
    row->addStretch();
    layout->addLayout(row);
    list_ = new QListWidget;
    list_->setObjectName("gallery.list");
    list_->setAccessibleName(tr("Gallery of contexts"));
    list_->setToolTip(tr("Click a picture to go there"));
    list_->setViewMode(QListView::IconMode);
    list_->setResizeMode(QListView::Adjust);
    list_->setMovement(QListView::Static);
    list_->setIconSize({kPicturePx, kPicturePx});
    list_->setUniformItemSizes(true);
    list_->setSpacing(4);
    layout->addWidget(list_, 1);
    connect(order_, &QComboBox::activated, this, &Gallery::fill);
    connect(class_, &QComboBox::activated, this, &Gallery::fill);
    connect(list_, &QListWidget::currentRowChanged, this, [this](int at) {
        if (at < 0) return;
        const auto& t = tiles_[shown_[static_cast<size_t>(at)]];
        Q_EMIT chosen({t.x, t.y, t.width, t.height});
    });
}

void Gallery::stop() {
    ++generation_;
    loader_.forgetAll();
    missing_ = 0;
}

void Gallery::clear() {
    stop();
    tiles_.clear();
    shown_.clear();
    image_.reset();
    list_->clear();
}

void Gallery::setTiles(const std::vector<engine::TileRow>& tiles, const ModelLook& look,
                       std::shared_ptr<const io::ColorSource> image) {
    stop();
    tiles_ = tiles;
    look_ = look;
    image_ = std::move(image);
    class_->clear();
    class_->addItem(tr("of any class"));
    class_->addItems(look.classNames);
    fill();
}

void Gallery::setOrder(Order order) {
    order_->setCurrentIndex(static_cast<int>(order));
    fill();
}

void Gallery::fill() {
    stop();
    const auto order = static_cast<Order>(order_->currentIndex());
    const auto rank = [&](size_t i) {
        const auto& t = tiles_[i];
        const double sure = t.probabilities[static_cast<size_t>(t.best())];
        if (order == Order::Disagreeing) return -t.disagreement * 2 - sure;  // sure, yet alone
        return order == Order::LeastCertain ? sure : -sure;
    };
    shown_.clear();
    for (size_t i = 0; i < tiles_.size(); ++i) {
        if (class_->currentIndex() > 0 && tiles_[i].best() != class_->currentIndex() - 1) continue;
        if (order == Order::Disagreeing && !(tiles_[i].disagreement > 0)) continue;
        shown_.push_back(i);
    }
    std::stable_sort(shown_.begin(), shown_.end(),
                     [&](size_t a, size_t b) { return rank(a) < rank(b); });
    if (shown_.size() > kShown) shown_.resize(kShown);
    const QSignalBlocker quiet(list_);
    list_->clear();
    QPixmap blank(kPicturePx, kPicturePx);
    blank.fill(Qt::transparent);
    for (size_t i : shown_) {
        const auto& t = tiles_[i];
        const int best = t.best();
        const double sure = t.probabilities[static_cast<size_t>(best)];
        auto* item = new QListWidgetItem(QIcon(blank), QString("%1 %").arg(100 * sure, 0, 'f', 0));
        QString tip =
            tr("%1, %2 % certain").arg(look_.classNames.value(best)).arg(100 * sure, 0, 'f', 1);
        if (t.disagreement >= 0)
            tip += tr("\n%1 % of its neighbours differ").arg(100 * t.disagreement, 0, 'f', 0);
        item->setToolTip(tip);
        list_->addItem(item);
    }
    stale_ = true;
    if (isVisible()) load();
}

void Gallery::showEvent(QShowEvent*) {
    if (stale_) load();
}

/// Nothing is read while nobody looks.
void Gallery::load() {
    stale_ = false;
    if (!image_ || shown_.empty()) return;
    std::vector<engine::TileRow> tiles;
    std::vector<QColor> colors;
    for (size_t i : shown_) {
        tiles.push_back(tiles_[i]);
        const auto best = static_cast<size_t>(tiles_[i].best());
        colors.push_back(best < look_.classColors.size() ? look_.classColors[best] : QColor());
    }
    missing_ = tiles.size();
    loader_.start("gallery", {},
                  [this, tiles, colors, image = image_,
                   generation = generation_](const std::stop_token& stop) -> Background::Then {
                      for (size_t i = 0; i < tiles.size() && !stop.stop_requested(); ++i) {
                          const QImage picture = pictureOf(tiles[i], *image, colors[i]);
                          QMetaObject::invokeMethod(
                              this,
                              [this, i, picture, generation] {
                                  if (generation != generation_) return;
                                  --missing_;
                                  if (auto* item = list_->item(static_cast<int>(i)))
                                      item->setIcon(QIcon(QPixmap::fromImage(picture)));
                              },
                              Qt::QueuedConnection);
                      }
                      return {};
                  },
                  {});
}

}  // namespace atlas::ui
