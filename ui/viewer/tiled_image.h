// SPDX-License-Identifier: Apache-2.0
// One image in a view: which tiles are wanted, which have come, and how they are drawn. Several
// may share a texture store. GUI thread.
#pragma once

#include <QColorSpace>
#include <QElapsedTimer>
#include <QImage>
#include <QObject>
#include <deque>
#include <set>

#include "ui/viewer/failed_tiles.h"
#include "ui/viewer/quad_painter.h"
#include "ui/viewer/texture_store.h"
#include "ui/viewer/texture_uploader.h"
#include "ui/viewer/tile_loader.h"

namespace atlas::ui {

class TiledImage : public QObject {
    Q_OBJECT

  public:
    TiledImage(TextureStore& textures, TextureUploader& uploader, QObject* parent = nullptr);

    /// nullptr: nothing. The GL context is current.
    void setSource(std::shared_ptr<const io::ColorSource> source);
    const std::shared_ptr<const io::ColorSource>& source() const { return source_; }
    QSizeF size() const;

    /// Moves what has come to the GPU, for about this long, at least one tile; true: more waits.
    bool upload(qint64 nanoseconds);
    /// Textures that came for a source of before. The GL context is current.
    void deleteStale();
    /// Asks for what the view needs, and draws what is there where `draw`.
    void show(const ViewTransform& transform, double pixelRatio, QuadPainter& painter, bool draw);

    /// Colours of the image's ICC profile as they are on the screen; null without one.
    GlTexture* profile();
    void useProfile(bool use) { useProfile_ = use; }

    /// The whole image, small; null until its coarsest tiles have come.
    const QImage& smallPicture() const { return small_; }
    qint64 tilesLoaded() const { return tilesLoaded_; }
    /// Every tile that the last show() needed is there.
    bool complete() const { return complete_ && onTheirWay_.empty(); }
    void touch() { complete_ = false; }

  Q_SIGNALS:
    void arrived();
    void smallPictureChanged();
    void problem(QString text);

  private:
    void onLoaded(int generation, const TileId& id, const io::TilePtr& tile);
    void onFailed(int generation, const TileId& id, const QString& error);
    void addToSmallPicture(const TileId& id, const io::RgbaImage& tile);
    int coarsenessAt(const QPointF& point, int level) const;
    void request(int level, const ViewTransform& transform);
    void drawPart(int level, const QRectF& area, const ViewTransform& transform,
                  QuadPainter& painter);
    QSizeF tileSize(int level) const;
    QRectF tileRect(int level, int64_t column, int64_t row) const;
    std::string key(const TileId& id) const;

    TextureStore& textures_;
    TextureUploader& uploader_;
    std::string prefix_;
    std::shared_ptr<const io::ColorSource> source_;
    TileLoader loader_;
    struct Arrived {
        TileId id;
        io::TilePtr tile;
        unsigned texture = 0;  ///< on the card already; 0: not
    };
    std::deque<Arrived> arrived_;
    std::set<TileId> onTheirWay_;  ///< those in arrived_, and those at the uploader
    std::vector<unsigned> stale_;  ///< textures of an image that is gone
    FailedTiles failed_;
    QImage small_;
    qint64 tilesLoaded_ = 0;
    bool complete_ = false, useProfile_ = true;
};

/// sRGB values of a grid of 33^3 colours of a profile, red fastest; empty where it cannot be read.
std::vector<uint8_t> profileTable(const std::string& icc);

}  // namespace atlas::ui
