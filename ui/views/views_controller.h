// SPDX-License-Identifier: Apache-2.0
// What is seen beside or instead of the main view: linked views, swipe and lens, rotation and
// bookmarks. GUI thread.
#pragma once

#include <QMenu>
#include <QObject>
#include <functional>
#include <memory>
#include <vector>

#include "io/reader_registry.h"
#include "ui/background.h"
#include "ui/project/bookmarks.h"
#include "ui/views/view_grid.h"

namespace atlas::ui {

/// What the window lends: the controller knows nothing else of it.
struct ViewsHost {
    std::shared_ptr<io::TileCache> cache;
    std::function<void(const QString&)> message;
    /// What gets the layers of the newest run over another image, in any thread; none where there
    /// is no run.
    std::function<std::function<std::vector<OverlayLayer>()>(const QString& path)> layersOf;
    std::function<QAction*(QWidget*, const char*, const QString&, const QKeySequence&,
                           std::function<void()>)>
        addAction;
};

class ViewsController : public QObject {
    Q_OBJECT

  public:
    ViewsController(Canvas* canvas, ViewsHost host, QObject* parent);
    ~ViewsController() override;

    ViewGrid* grid() const { return grid_; }
    void addActions(QMenu* menu);
    void setImage(std::shared_ptr<const io::ColorSource> image, const QString& path);
    void openBookmarks(const QString& file);
    void setLayers(const std::vector<OverlayLayer>& layers);
    /// The layer that swipe and lens take away; empty: all.
    void setSelectedLayer(const QString& id);

    void setCount(int views);
    /// Swipe or lens over the selected layer, or over another image where a path is given.
    void compare(CompareMode mode, const QString& otherPath = {});
    void openInSide(SideView* side, const QString& path);
    void rotateTo(double degrees);
    /// Degrees as a person types them, "22.5" or "22,5"; says so where it is no angle.
    bool rotateToText(const QString& text);
    void addBookmark(const QString& name);
    void goToBookmark(size_t index);
    Bookmarks& bookmarks() { return bookmarks_; }
    void fillBookmarks();
    bool opening() const { return openers_.busy(); }
    /// Sees the work of other images; for tests.
    void setWatch(const Background::Watch& watch) { openers_.setWatch(watch); }

  private:
    struct Other {
        std::shared_ptr<const io::ColorSource> image;
        std::vector<OverlayLayer> layers;
    };
    /// Opens an image beside the main one; `then` is called while that is still the same.
    int openOther(const QString& path, bool withLayers, std::function<void(const Other&)> then);
    QString askForImage();
    void editBookmarks();
    void guarded(const std::function<void()>& work);

    Canvas* canvas_;
    ViewsHost host_;
    ViewGrid* grid_;
    QMenu* bookmarksMenu_ = nullptr;
    std::shared_ptr<const io::ColorSource> image_, other_;
    QString path_, selectedLayer_;
    Bookmarks bookmarks_;
    int imageNumber_ = 0, compareTask_ = 0;
    Background openers_;
};

}  // namespace atlas::ui
