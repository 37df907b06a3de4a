// SPDX-License-Identifier: Apache-2.0
// What is seen beside or instead of the main view: linked views, swipe and lens, rotation and
// bookmarks. GUI thread.
#pragma once

#include <QMenu>
#include <QObject>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "io/reader_registry.h"
#include "ui/project/bookmarks.h"
#include "ui/views/view_grid.h"

namespace atlas::ui {

/// What the window lends: the controller knows nothing else of it.
struct ViewsHost {
    std::shared_ptr<io::TileCache> cache;
    std::function<void(const QString&)> message;
    /// Layers of the newest run over another image; none where there is no run.
    std::function<std::vector<OverlayLayer>(const QString& path)> layersOf;
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
    void addBookmark(const QString& name);
    void goToBookmark(size_t index);
    Bookmarks& bookmarks() { return bookmarks_; }
    void fillBookmarks();
    bool opening() const { return opening_ > 0; }

  private:
    void openOther(const QString& path,
                   std::function<void(std::shared_ptr<const io::ColorSource>)> then);
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
    std::vector<std::jthread> openers_;
    int opening_ = 0;
};

}  // namespace atlas::ui
