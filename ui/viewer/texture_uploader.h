// SPDX-License-Identifier: Apache-2.0
// Sends tiles to the graphics card in a thread of its own, through a context that shares its
// textures with the canvas'. Where OpenGL cannot do that, the canvas uploads them itself.
#pragma once

#include <QObject>
#include <QOffscreenSurface>
#include <QOpenGLContext>
#include <QThread>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "io/cache/tile_cache.h"

namespace atlas::ui {

class TextureUploader : public QObject {
    Q_OBJECT

  public:
    explicit TextureUploader(QObject* parent = nullptr);
    ~TextureUploader() override;

    /// In the GUI thread, once the canvas' context is there; a second call begins anew.
    void start(QOpenGLContext* share);
    void stop();
    bool running() const { return worker_ != nullptr; }

    /// `done` is called in the GUI thread with the texture's name, complete on the card; its owner
    /// from then on is the caller. Never called after stop(), which deletes the textures that were
    /// not handed over.
    void upload(const io::TilePtr& tile, std::function<void(unsigned texture)> done);

  private:
    QThread thread_;
    QObject* worker_ = nullptr;  ///< lives in the thread
    QOpenGLContext* context_ = nullptr;
    std::unique_ptr<QOffscreenSurface> surface_;
    int generation_ = 0;
    std::mutex mutex_;
    std::set<unsigned> waiting_;  ///< textures made and not handed over yet; guarded by mutex_
};

}  // namespace atlas::ui
