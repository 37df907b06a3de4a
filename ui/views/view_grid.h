// SPDX-License-Identifier: Apache-2.0
// The main canvas and up to three more beside it, each with the same or another image, moving
// together: position by ViewLink, scale and rotation. GUI thread.
#pragma once

#include <QComboBox>
#include <QGridLayout>
#include <QLabel>
#include <QWidget>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "ui/viewer/canvas.h"

namespace atlas::ui {

/// One more view: a canvas under a line that says what it shows.
class SideView : public QWidget {
    Q_OBJECT

  public:
    explicit SideView(int number, QWidget* parent = nullptr);
    Canvas* canvas() const { return canvas_; }
    /// The image of the main view; its layers are offered.
    void setMain(std::shared_ptr<const io::ColorSource> image, const QString& name);
    void setLayers(const std::vector<OverlayLayer>& layers);
    /// Another image than the main view's.
    void setOther(std::shared_ptr<const io::ColorSource> image, const QString& name,
                  const std::vector<OverlayLayer>& layers);
    bool showsOther() const { return other_ != nullptr; }
    const ViewLink& link() const { return link_; }
    /// Shows this layer alone; "": none.
    void chooseLayer(const QString& id);

  Q_SIGNALS:
    void otherAsked();

  private:
    void refresh();
    void fill();

    Canvas* canvas_;
    QLabel* name_;
    QComboBox *image_, *layer_;
    std::shared_ptr<const io::ColorSource> main_, other_;
    QString mainName_, otherName_;
    std::vector<OverlayLayer> mainLayers_, otherLayers_;
    ViewLink link_;
    QString chosen_;
    bool filling_ = false;
};

class ViewGrid : public QWidget {
    Q_OBJECT

  public:
    static constexpr int kMost = 4;

    explicit ViewGrid(Canvas* main, QWidget* parent = nullptr);
    /// 1 to 4 views, the main one first.
    void setCount(int count);
    int count() const { return 1 + static_cast<int>(sides_.size()); }
    const std::vector<SideView*>& sides() const { return sides_; }
    void setImage(std::shared_ptr<const io::ColorSource> image, const QString& name);
    void setLayers(const std::vector<OverlayLayer>& layers);
    void setLook(const ImageLook& look);
    void setLinked(bool linked);
    bool linked() const { return linked_; }
    bool settled() const;

  Q_SIGNALS:
    void otherAsked(atlas::ui::SideView* side);

  private:
    void arrange();
    void follow(Canvas* mover);

    Canvas* main_;
    QGridLayout* layout_;
    std::vector<SideView*> sides_;
    std::shared_ptr<const io::ColorSource> image_;
    QString name_;
    std::vector<OverlayLayer> layers_;
    bool linked_ = true, following_ = false;
};

}  // namespace atlas::ui
