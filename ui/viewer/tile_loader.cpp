// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/tile_loader.h"

#include <QMetaType>

namespace atlas::ui {
namespace {
constexpr int kThreads = 2;
}

TileLoader::TileLoader(QObject* parent) : QObject(parent) {
    qRegisterMetaType<atlas::ui::TileId>();
    qRegisterMetaType<atlas::io::TilePtr>();
    for (int i = 0; i < kThreads; ++i)
        threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

TileLoader::~TileLoader() {
    for (auto& thread : threads_) thread.request_stop();
    changed_.notify_all();
    threads_.clear();
}

void TileLoader::setSource(std::shared_ptr<const io::ColorSource> source) {
    const std::lock_guard lock(mutex_);
    source_ = std::move(source);
    wanted_.clear();
    running_.clear();
    ++generation_;
}

void TileLoader::want(const std::vector<TileId>& tiles) {
    const std::lock_guard lock(mutex_);
    wanted_.clear();
    for (const auto& tile : tiles)
        if (!running_.contains(tile)) wanted_.push_back(tile);
    changed_.notify_all();
}

bool TileLoader::idle() const {
    const std::lock_guard lock(mutex_);
    return wanted_.empty() && running_.empty();
}

void TileLoader::work(const std::stop_token& stop) {
    for (;;) {
        TileId id;
        std::shared_ptr<const io::ColorSource> source;
        int generation = 0;
        {
            std::unique_lock lock(mutex_);
            if (!changed_.wait(lock, stop, [&] { return !wanted_.empty() && source_; })) return;
            id = wanted_.front();
            wanted_.pop_front();
            running_.insert(id);
            source = source_;
            generation = generation_;
        }
        io::TilePtr tile;
        QString error;
        try {
            tile = source->tile(id.level, id.column, id.row);
        } catch (const std::exception& problem) {
            error = QString::fromUtf8(problem.what());
        }
        {
            const std::lock_guard lock(mutex_);
            if (generation == generation_) running_.erase(id);
        }
        if (tile)
            Q_EMIT loaded(generation, id, tile);
        else
            Q_EMIT failed(generation, id, error);
    }
}

}  // namespace atlas::ui
