// SPDX-License-Identifier: Apache-2.0
#include "ui/views/views_controller.h"

#include <QActionGroup>
#include <QDialog>
#include <QFileDialog>
#include <QFileInfo>
#include <QInputDialog>
#include <QListWidget>
#include <QPushButton>
#include <QVBoxLayout>

#include "io/numbers.h"
#include "ui/panels/controls.h"

namespace atlas::ui {
namespace {
constexpr double kTurn = 15;  // degrees a key
}

ViewsController::ViewsController(Canvas* canvas, ViewsHost host, QObject* parent)
    : QObject(parent), canvas_(canvas), host_(std::move(host)), grid_(new ViewGrid(canvas)) {
    connect(grid_, &ViewGrid::otherAsked, this, [this](SideView* side) {
        const QString path = askForImage();
        if (!path.isEmpty()) openInSide(side, path);
    });
}

ViewsController::~ViewsController() {
    openers_.end();
}

void ViewsController::addActions(QMenu* menu) {
    const auto& add = host_.addAction;
    auto* turn = menu->addMenu(tr("&Rotate"));
    const auto by = [this](double degrees) { rotateTo(canvas_->transform().rotation() + degrees); };
    add(turn, "view.rotateRight", tr("&Right by 15°"), QKeySequence("Ctrl+]"), [by] { by(kTurn); });
    add(turn, "view.rotateLeft", tr("&Left by 15°"), QKeySequence("Ctrl+["), [by] { by(-kTurn); });
    add(turn, "view.rotateQuarter", tr("A &quarter"), QKeySequence("Ctrl+Shift+]"),
        [by] { by(90); });
    add(turn, "view.rotateReset", tr("&Upright"), QKeySequence("Ctrl+0"), [this] { rotateTo(0); });
    add(turn, "view.rotateTo", tr("To an &angle …"), {}, [this] {
        bool good = false;
        const QString degrees = QInputDialog::getText(
            nullptr, tr("Rotate"), tr("Clockwise degrees (or Ctrl+Shift+wheel in the view):"),
            QLineEdit::Normal, QString::number(canvas_->transform().rotation(), 'f', 1), &good);
        if (good) rotateToText(degrees);
    });
    auto* views = menu->addMenu(tr("&Linked views"));
    for (int i = 1; i <= ViewGrid::kMost; ++i)
        add(views, qPrintable(QString("view.views%1").arg(i)),
            i == 1 ? tr("&One view") : tr("%1 views side by side").arg(i),
            i <= 2 ? QKeySequence(QString("Ctrl+Alt+%1").arg(i)) : QKeySequence(),
            [this, i] { setCount(i); });
    views->addSeparator();
    auto* link = add(views, "view.link", tr("&Move together"), QKeySequence("Ctrl+Alt+L"), [] {});
    link->setCheckable(true);
    link->setChecked(true);
    connect(link, &QAction::toggled, grid_, &ViewGrid::setLinked);
    auto* compares = menu->addMenu(tr("Swi&pe and lens"));
    add(compares, "view.swipe", tr("&Swipe the selected layer"), QKeySequence("S"), [this] {
        compare(canvas_->compareMode() == CompareMode::Swipe ? CompareMode::Off
                                                             : CompareMode::Swipe);
    });
    add(compares, "view.lens", tr("&Lens without the selected layer"), QKeySequence("Shift+S"),
        [this] {
            compare(canvas_->compareMode() == CompareMode::Lens ? CompareMode::Off
                                                                : CompareMode::Lens);
        });
    add(compares, "view.swipeImage", tr("Swipe against another &image …"), {}, [this] {
        const QString path = askForImage();
        if (!path.isEmpty()) compare(CompareMode::Swipe, path);
    });
    add(compares, "view.lensImage", tr("Lens into another im&age …"), {}, [this] {
        const QString path = askForImage();
        if (!path.isEmpty()) compare(CompareMode::Lens, path);
    });
    add(compares, "view.compareOff", tr("&Off"), {}, [this] { compare(CompareMode::Off); });
    bookmarksMenu_ = menu->addMenu(tr("&Bookmarks"));
    add(menu, "view.addBookmark", tr("Add a boo&kmark …"), QKeySequence("Ctrl+B"), [this] {
        if (!image_) return;
        bool good = false;
        const QString name = QInputDialog::getText(
            nullptr, tr("Add a bookmark"), tr("Name of this place:"), QLineEdit::Normal,
            tr("Place %1").arg(bookmarks_.all().size() + 1), &good);
        if (good) addBookmark(name);
    });
    add(menu, "view.editBookmarks", tr("Edit bookmarks …"), {}, [this] { editBookmarks(); });
    fillBookmarks();
}

bool ViewsController::rotateToText(const QString& text) {
    const auto degrees = io::parseTypedNumber(QString(text).remove(u'°').toStdString());
    if (!degrees || std::abs(*degrees) > 360) {
        host_.message(
            tr("\"%1\" is no angle: give degrees from -360 to 360, such as 22.5.").arg(text));
        return false;
    }
    rotateTo(*degrees);
    return true;
}

QString ViewsController::askForImage() {
    return QFileDialog::getOpenFileName(nullptr, tr("Another image"),
                                        QFileInfo(path_).absolutePath());
}

void ViewsController::guarded(const std::function<void()>& work) {
    try {
        work();
    } catch (const std::exception& error) {
        host_.message(QString::fromUtf8(error.what()));
    }
}

void ViewsController::setImage(std::shared_ptr<const io::ColorSource> image, const QString& path) {
    if (path != path_) {  // what was to be laid beside the image before is not wanted any more
        ++imageNumber_;
        openers_.forget(compareTask_);
    }
    image_ = std::move(image);
    path_ = path;
    grid_->setImage(image_, QFileInfo(path).fileName());
}

void ViewsController::openBookmarks(const QString& file) {
    guarded([&] { bookmarks_.open(file); });
    fillBookmarks();
}

void ViewsController::setLayers(const std::vector<OverlayLayer>& layers) {
    grid_->setLayers(layers);
}

void ViewsController::setSelectedLayer(const QString& id) {
    if (id == selectedLayer_) return;
    selectedLayer_ = id;
    if (canvas_->compareMode() != CompareMode::Off && !other_) compare(canvas_->compareMode());
}

void ViewsController::setCount(int views) {
    grid_->setCount(views);
}

void ViewsController::rotateTo(double degrees) {
    canvas_->setRotation(degrees);
}

void ViewsController::compare(CompareMode mode, const QString& otherPath) {
    if (!image_) return;
    other_.reset();
    openers_.forget(compareTask_);
    if (mode == CompareMode::Off || otherPath.isEmpty()) {
        canvas_->setCompare(mode, nullptr, {}, selectedLayer_);
        return;
    }
    compareTask_ = openOther(otherPath, false, [this, mode, otherPath](const Other& other) {
        other_ = other.image;
        const ViewLink link = ViewLink::between(image_->info(), other_->info());
        canvas_->setCompare(mode, other_, link);
        host_.message(tr("%1 is aligned by %2.").arg(QFileInfo(otherPath).fileName(), link.by));
    });
}

void ViewsController::openInSide(SideView* side, const QString& path) {
    openOther(path, true, [this, side, path](const Other& other) {
        const auto& sides = grid_->sides();
        if (std::find(sides.begin(), sides.end(), side) == sides.end()) return;  // closed since
        side->setOther(other.image, QFileInfo(path).fileName(), other.layers);
        grid_->setLinked(grid_->linked());
    });
}

int ViewsController::openOther(const QString& path, bool withLayers,
                               std::function<void(const Other&)> then) {
    return openers_.start(
        "other", {},
        [this, path, asked = imageNumber_, then = std::move(then), cache = host_.cache,
         layers = withLayers ? host_.layersOf(path)
                             : nullptr](const std::stop_token&) -> Background::Then {
            const auto source = io::openImage(path.toStdString());
            Other other{std::make_shared<io::ColorSource>(
                            source, io::defaultDisplay(source->info()), cache),
                        {}};
            if (layers) other.layers = layers();
            return [this, other, asked, then] {
                if (image_ && asked == imageNumber_) then(other);
            };
        },
        [this](const QString& error) { host_.message(error); });
}

void ViewsController::addBookmark(const QString& name) {
    if (!image_) return;
    const auto& t = canvas_->transform();
    guarded([&] { bookmarks_.add({name, t.centre(), t.scale(), t.rotation()}); });
    fillBookmarks();
}

void ViewsController::goToBookmark(size_t index) {
    if (index >= bookmarks_.all().size()) return;
    const auto mark = bookmarks_.all()[index];
    canvas_->setRotation(mark.rotation);
    canvas_->goTo(mark.centre, mark.scale);
}

void ViewsController::fillBookmarks() {
    if (!bookmarksMenu_) return;
    bookmarksMenu_->clear();
    for (size_t i = 0; i < bookmarks_.all().size(); ++i)
        bookmarksMenu_->addAction(bookmarks_.all()[i].name, this, [this, i] { goToBookmark(i); });
    bookmarksMenu_->setEnabled(!bookmarks_.all().empty());
}

void ViewsController::editBookmarks() {
    auto* dialog = new QDialog(grid_->window());
    dialog->setObjectName("bookmarks.dialog");
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("Bookmarks"));
    auto* layout = new QVBoxLayout(dialog);
    auto* list = new QListWidget;
    list->setObjectName("bookmarks.list");
    list->setAccessibleName(tr("Bookmarks"));
    list->setToolTip(tr("Double-click a name to change it"));
    const auto fill = [this, list] {
        const QSignalBlocker quiet(list);
        list->clear();
        for (const auto& mark : bookmarks_.all()) {
            auto* item = new QListWidgetItem(mark.name, list);
            item->setFlags(item->flags() | Qt::ItemIsEditable);
        }
    };
    fill();
    layout->addWidget(bookmarks_.all().empty()
                          ? new QLabel(tr("Ctrl+B keeps the place that the view shows."))
                          : new QLabel(tr("Places in this image:")));
    layout->addWidget(list);
    auto* row = new QHBoxLayout;
    auto* go = namedButton("bookmarks.go", tr("Go there"), tr("Show the selected place"));
    auto* away = namedButton("bookmarks.remove", tr("Remove"), tr("Forget the selected place"));
    row->addWidget(go);
    row->addWidget(away);
    layout->addLayout(row);
    connect(list, &QListWidget::itemChanged, this, [this, list](QListWidgetItem* item) {
        guarded([&] { bookmarks_.rename(static_cast<size_t>(list->row(item)), item->text()); });
        fillBookmarks();
    });
    connect(go, &QPushButton::clicked, this, [this, list] {
        if (list->currentRow() >= 0) goToBookmark(static_cast<size_t>(list->currentRow()));
    });
    connect(away, &QPushButton::clicked, this, [this, list, fill] {
        if (list->currentRow() < 0) return;
        guarded([&] { bookmarks_.remove(static_cast<size_t>(list->currentRow())); });
        fill();
        fillBookmarks();
    });
    dialog->open();
}

}  // namespace atlas::ui
