// SPDX-License-Identifier: Apache-2.0
#include "ui/views/view_grid.h"

#include <QHBoxLayout>
#include <QVBoxLayout>
#include <algorithm>

namespace atlas::ui {

SideView::SideView(int number, QWidget* parent) : QWidget(parent) {
    setObjectName(QString("views.side%1").arg(number));
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(0);
    auto* row = new QHBoxLayout;
    row->setContentsMargins(6, 3, 6, 3);
    image_ = new QComboBox;
    image_->setObjectName(QString("views.image%1").arg(number));
    image_->setAccessibleName(tr("Image of this view"));
    image_->setToolTip(tr("The same image as on the left, or another one"));
    layer_ = new QComboBox;
    layer_->setObjectName(QString("views.layer%1").arg(number));
    layer_->setAccessibleName(tr("Layer of this view"));
    layer_->setToolTip(tr("Which layer is drawn over the image here"));
    for (auto* box : {image_, layer_}) {
        box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
        box->setMinimumContentsLength(10);
        row->addWidget(box, 1);
    }
    name_ = new QLabel;
    name_->setObjectName(QString("views.link%1").arg(number));
    name_->setToolTip(tr("How a place here is found in the main view"));
    name_->setProperty("faint", true);
    row->addWidget(name_);
    layout->addLayout(row);
    canvas_ = new Canvas;
    canvas_->setObjectName(QString("viewer.canvas%1").arg(number + 1));
    canvas_->setAccessibleName(tr("Image viewer %1").arg(number + 1));
    layout->addWidget(canvas_, 1);
    connect(image_, &QComboBox::activated, this, [this](int index) {
        if (index == image_->count() - 1) {
            fill();  // stays on what it is until another image is chosen
            Q_EMIT otherAsked();
            return;
        }
        if (index == 0 && other_) {
            other_.reset();
            refresh();
        }
    });
    connect(layer_, &QComboBox::activated, this, [this](int index) {
        if (!filling_) chooseLayer(layer_->itemData(index).toString());
    });
}

void SideView::setMain(std::shared_ptr<const io::ColorSource> image, const QString& name) {
    main_ = std::move(image);
    mainName_ = name;
    refresh();
}

void SideView::setOther(std::shared_ptr<const io::ColorSource> image, const QString& name,
                        const std::vector<OverlayLayer>& layers) {
    other_ = std::move(image);
    otherName_ = name;
    otherLayers_ = layers;
    chosen_.clear();
    refresh();
}

void SideView::setLayers(const std::vector<OverlayLayer>& layers) {
    mainLayers_ = layers;
    fill();
    if (!other_) chooseLayer(chosen_);
}

void SideView::refresh() {
    const auto image = other_ ? other_ : main_;
    link_ = other_ && main_ ? ViewLink::between(main_->info(), other_->info()) : ViewLink();
    std::optional<double> um;
    if (image && image->info().resolution) um = image->info().resolution->umPerPixelX;
    canvas_->setImage(image, um, um && image->info().resolution->ground);
    name_->setText(other_ ? tr("by %1").arg(link_.by) : QString());
    fill();
    chooseLayer(chosen_);
}

void SideView::fill() {
    filling_ = true;
    image_->clear();
    image_->addItem(mainName_.isEmpty() ? tr("the same image") : mainName_);
    if (other_) image_->addItem(otherName_);
    image_->setCurrentIndex(other_ ? 1 : 0);
    image_->addItem(tr("another image …"));
    layer_->clear();
    layer_->addItem(tr("image alone"), QString());
    for (const auto& l : other_ ? otherLayers_ : mainLayers_) layer_->addItem(l.title, l.id);
    layer_->setCurrentIndex(std::max(0, layer_->findData(chosen_)));
    filling_ = false;
}

void SideView::chooseLayer(const QString& id) {
    chosen_ = id;
    layer_->setCurrentIndex(std::max(0, layer_->findData(id)));
    std::vector<OverlayLayer> shown;
    for (const auto& l : other_ ? otherLayers_ : mainLayers_)
        if (l.id == id) {
            shown.push_back(l);
            shown.back().visible = true;
        }
    canvas_->setLayers(shown);
}

ViewGrid::ViewGrid(Canvas* main, QWidget* parent) : QWidget(parent), main_(main) {
    setObjectName("views.grid");
    layout_ = new QGridLayout(this);
    layout_->setContentsMargins(0, 0, 0, 0);
    layout_->setSpacing(2);
    connect(main_, &Canvas::viewChanged, this, [this] { follow(main_); });
    arrange();
}

void ViewGrid::arrange() {
    layout_->addWidget(main_, 0, 0);
    for (size_t i = 0; i < sides_.size(); ++i) {
        const int place = static_cast<int>(i) + 1;
        if (sides_.size() < 3)
            layout_->addWidget(sides_[i], 0, place);
        else
            layout_->addWidget(sides_[i], place / 2, place % 2);
    }
    for (int i = 0; i < kMost; ++i) {
        const int columns = sides_.size() == 3 ? 2 : count();
        layout_->setColumnStretch(i, i < columns ? 1 : 0);
        layout_->setRowStretch(i, i == 0 || (i == 1 && sides_.size() == 3) ? 1 : 0);
    }
}

void ViewGrid::setCount(int count) {
    const auto wanted = static_cast<size_t>(std::clamp(count, 1, kMost) - 1);
    while (sides_.size() > wanted) {
        delete sides_.back();
        sides_.pop_back();
    }
    while (sides_.size() < wanted) {
        auto* side = new SideView(static_cast<int>(sides_.size()) + 1);
        sides_.push_back(side);
        connect(side, &SideView::otherAsked, this, [this, side] { Q_EMIT otherAsked(side); });
        connect(side->canvas(), &Canvas::viewChanged, this,
                [this, side] { follow(side->canvas()); });
        side->setMain(image_, name_);
        side->setLayers(layers_);
    }
    arrange();
    follow(main_);
}

void ViewGrid::setImage(std::shared_ptr<const io::ColorSource> image, const QString& name) {
    image_ = std::move(image);
    name_ = name;
    for (auto* side : sides_) side->setMain(image_, name_);
}

void ViewGrid::setLayers(const std::vector<OverlayLayer>& layers) {
    layers_ = layers;
    for (auto* side : sides_) side->setLayers(layers_);
}

void ViewGrid::setLook(const ImageLook& look) {
    for (auto* side : sides_) side->canvas()->setLook(look);
}

void ViewGrid::setLinked(bool linked) {
    linked_ = linked;
    follow(main_);
}

bool ViewGrid::settled() const {
    return std::all_of(sides_.begin(), sides_.end(),
                       [](const SideView* side) { return side->canvas()->settled(); });
}

/// The others show what the one that was moved shows.
void ViewGrid::follow(Canvas* mover) {
    if (!linked_ || following_ || !mover->hasImage() || sides_.empty()) return;
    following_ = true;
    if (mover != main_)
        for (const auto* side : sides_)
            if (side->canvas() == mover) main_->follow(mover->transform(), side->link().inverse());
    for (const auto* side : sides_)
        if (side->canvas() != mover && side->canvas()->hasImage())
            side->canvas()->follow(main_->transform(), side->link());
    following_ = false;
}

}  // namespace atlas::ui
