// SPDX-License-Identifier: Apache-2.0
// Reads tiles for the canvas in threads of its own, the most wanted first; what is no longer
// wanted is dropped. Used from the GUI thread.
#pragma once

#include <QObject>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "io/color_source.h"

namespace atlas::ui {

struct TileId {
    int level = 0;
    int64_t column = 0, row = 0;
    auto operator<=>(const TileId&) const = default;
};

class TileLoader : public QObject {
    Q_OBJECT

  public:
    explicit TileLoader(QObject* parent = nullptr);
    ~TileLoader() override;

    void setSource(std::shared_ptr<const io::ColorSource> source);
    /// Replaces the wishes so far.
    void want(const std::vector<TileId>& tiles);
    /// Nothing wanted is missing or on its way.
    bool idle() const;

  Q_SIGNALS:
    void loaded(int generation, atlas::ui::TileId id, atlas::io::TilePtr tile);
    void failed(int generation, atlas::ui::TileId id, QString error);

  public:
    int generation() const { return generation_; }

  private:
    void work(const std::stop_token& stop);

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::shared_ptr<const io::ColorSource> source_;
    std::deque<TileId> wanted_;
    std::set<TileId> running_;
    int generation_ = 0;
    std::vector<std::jthread> threads_;
};

}  // namespace atlas::ui
