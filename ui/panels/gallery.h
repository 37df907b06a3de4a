// SPDX-License-Identifier: Apache-2.0
// Pictures of the most certain, the least certain and the disagreeing contexts.
#pragma once

#include <QComboBox>
#include <QListWidget>
#include <QWidget>
#include <vector>

#include "engine/pipeline/run_folder.h"
#include "io/color_source.h"
#include "ui/background.h"
#include "ui/result_layers.h"

namespace atlas::ui {

class Gallery : public QWidget {
    Q_OBJECT

  public:
    enum class Order { LeastCertain, MostCertain, Disagreeing };
    static constexpr size_t kShown = 48;

    explicit Gallery(QWidget* parent = nullptr);

    void setTiles(const std::vector<engine::TileRow>& tiles, const ModelLook& look,
                  std::shared_ptr<const io::ColorSource> image);
    void clear();
    void setOrder(Order order);
    /// The numbers of the contexts in the order shown.
    const std::vector<size_t>& shown() const { return shown_; }
    bool loading() const { return missing_ > 0; }

  Q_SIGNALS:
    void chosen(QRectF box);

  protected:
    void showEvent(QShowEvent* event) override;

  private:
    void fill();
    void load();
    void stop();

    QComboBox *order_, *class_;
    QListWidget* list_;
    std::vector<engine::TileRow> tiles_;
    std::vector<size_t> shown_;
    ModelLook look_;
    std::shared_ptr<const io::ColorSource> image_;
    int generation_ = 0;
    size_t missing_ = 0;
    bool stale_ = false;
    Background loader_;
};

}  // namespace atlas::ui
