// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/tiled_image.h"

#include <QColorTransform>
#include <QPainter>
#include <QTimer>
#include <algorithm>
#include <cmath>

namespace atlas::ui {
namespace {

constexpr int kNeighbours = 1;  // rings of tiles around the view that are fetched ahead
constexpr size_t kMaxTilesWanted = 400;
constexpr int kProfileGrid = 33;  // as in the shader

int64_t cell(double v) {
    return static_cast<int64_t>(std::floor(v));
}

}  // namespace

std::vector<uint8_t> profileTable(const std::string& icc) {
    const QColorSpace space =
        QColorSpace::fromIccProfile(QByteArray(icc.data(), static_cast<qsizetype>(icc.size())));
    if (!space.isValid()) return {};
    const QColorTransform to = space.transformationToColorSpace(QColorSpace(QColorSpace::SRgb));
    std::vector<uint8_t> table;
    table.reserve(size_t{4} * kProfileGrid * kProfileGrid * kProfileGrid);
    const float last = kProfileGrid - 1;
    for (int b = 0; b < kProfileGrid; ++b)
        for (int g = 0; g < kProfileGrid; ++g)
            for (int r = 0; r < kProfileGrid; ++r) {
                const QColor c = to.map(QColor::fromRgbF(static_cast<float>(r) / last,
                                                         static_cast<float>(g) / last,
                                                         static_cast<float>(b) / last));
                for (int v : {c.red(), c.green(), c.blue(), 255})
                    table.push_back(static_cast<uint8_t>(std::clamp(v, 0, 255)));
            }
    return table;
}

TiledImage::TiledImage(TextureStore& textures, TextureUploader& uploader, QObject* parent)
    : QObject(parent), textures_(textures), uploader_(uploader) {
    static int number = 0;
    prefix_ = "tile/" + std::to_string(++number) + "/";
    connect(&loader_, &TileLoader::loaded, this, &TiledImage::onLoaded, Qt::QueuedConnection);
    connect(&loader_, &TileLoader::failed, this, &TiledImage::onFailed, Qt::QueuedConnection);
}

void TiledImage::setSource(std::shared_ptr<const io::ColorSource> source) {
    textures_.removePrefix(prefix_);
    source_ = std::move(source);
    for (const auto& waiting : arrived_)
        if (waiting.texture) stale_.push_back(waiting.texture);
    deleteStale();
    arrived_.clear();
    onTheirWay_.clear();
    failed_.clear();
    small_ = {};
    complete_ = false;
    loader_.setSource(source_);
}

QSizeF TiledImage::size() const {
    if (!source_) return {1, 1};
    const auto& full = source_->info().levels[0];
    return {static_cast<double>(full.width), static_cast<double>(full.height)};
}

std::string TiledImage::key(const TileId& id) const {
    return prefix_ + std::to_string(id.level) + "/" + std::to_string(id.column) + "/" +
           std::to_string(id.row);
}

void TiledImage::onLoaded(int generation, const TileId& id, const io::TilePtr& tile) {
    if (generation != loader_.generation()) return;
    failed_.forget(id);
    onTheirWay_.insert(id);
    ++tilesLoaded_;
    if (!uploader_.running()) {
        arrived_.push_back({id, tile, 0});
        Q_EMIT arrived();
        return;
    }
    uploader_.upload(tile, [this, generation, id, tile](unsigned texture) {
        if (generation != loader_.generation())
            stale_.push_back(texture);
        else
            arrived_.push_back({id, tile, texture});
        Q_EMIT arrived();
    });
}

void TiledImage::onFailed(int generation, const TileId& id, const QString& error) {
    if (generation != loader_.generation()) return;
    bool isFirst = false;
    const auto delay = failed_.add(id, FailedTiles::Clock::now(), isFirst);
    if (isFirst) Q_EMIT problem(error);
    Q_EMIT arrived();
    // The picture is drawn again then, which asks for what is still in sight.
    QTimer::singleShot(std::chrono::duration_cast<std::chrono::milliseconds>(delay) +
                           std::chrono::milliseconds(50),
                       this, [this, generation] {
                           if (generation == loader_.generation()) Q_EMIT arrived();
                       });
}

void TiledImage::deleteStale() {
    for (unsigned texture : stale_) const GlTexture dies(texture);
    stale_.clear();
}

bool TiledImage::upload(qint64 nanoseconds) {
    QElapsedTimer timer;
    timer.start();
    deleteStale();
    while (!arrived_.empty() && timer.nsecsElapsed() < nanoseconds) {
        const auto [id, tile, texture] = arrived_.front();
        arrived_.pop_front();
        onTheirWay_.erase(id);
        if (texture)
            textures_.adopt(key(id), texture, qint64{4} * tile->width * tile->height);
        else
            textures_.insertTile(key(id), *tile);
        if (id.level + 1 == static_cast<int>(source_->levels().size()) &&
            source_->columns(id.level) <= 2 && source_->rows(id.level) <= 2)
            addToSmallPicture(id, *tile);
    }
    return !arrived_.empty();
}

void TiledImage::addToSmallPicture(const TileId& id, const io::RgbaImage& tile) {
    if (small_.isNull()) {
        const auto& level = source_->levels().back();
        small_ = QImage(static_cast<int>(level.width), static_cast<int>(level.height),
                        QImage::Format_RGBA8888);
        small_.fill(Qt::transparent);
    }
    const QImage picture(tile.rgba.data(), tile.width, tile.height, 4 * tile.width,
                         QImage::Format_RGBA8888);
    QPainter painter(&small_);
    painter.drawImage(QPointF(static_cast<double>(id.column * io::ColorSource::kTilePx),
                              static_cast<double>(id.row * io::ColorSource::kTilePx)),
                      picture);
    painter.end();
    Q_EMIT smallPictureChanged();
}

/// Image pixels that a whole tile of a level covers.
QSizeF TiledImage::tileSize(int level) const {
    const auto& l = source_->levels()[static_cast<size_t>(level)];
    const QSizeF full = size();
    const double px = io::ColorSource::kTilePx;
    return {full.width() / static_cast<double>(l.width) * px,
            full.height() / static_cast<double>(l.height) * px};
}

QRectF TiledImage::tileRect(int level, int64_t column, int64_t row) const {
    const auto& l = source_->levels()[static_cast<size_t>(level)];
    const QSizeF full = size();
    const double sx = full.width() / static_cast<double>(l.width),
                 sy = full.height() / static_cast<double>(l.height);
    const int64_t px = io::ColorSource::kTilePx;
    const double x0 = static_cast<double>(column * px), y0 = static_cast<double>(row * px);
    const double w = static_cast<double>(std::min(px, l.width - column * px)),
                 h = static_cast<double>(std::min(px, l.height - row * px));
    return {x0 * sx, y0 * sy, w * sx, h * sy};
}

void TiledImage::show(const ViewTransform& transform, double pixelRatio, QuadPainter& painter,
                      bool draw) {
    if (!source_) return;
    const int level = source_->levelFor(1 / (transform.scale() * pixelRatio));
    request(level, transform);
    if (!draw) return;
    const QPolygonF area = transform.visibleImageArea();
    const QRectF seen = transform.visibleImageRect();
    const QSizeF step = tileSize(level);
    for (int64_t row = std::max<int64_t>(0, cell(seen.top() / step.height()));
         row <= std::min(source_->rows(level) - 1, cell(seen.bottom() / step.height())); ++row)
        for (int64_t column = std::max<int64_t>(0, cell(seen.left() / step.width()));
             column <= std::min(source_->columns(level) - 1, cell(seen.right() / step.width()));
             ++column) {
            const QRectF rect = tileRect(level, column, row);
            if (transform.rotation() == 0 || area.intersects(QPolygonF(rect)))
                drawPart(level, rect, transform, painter);
        }
}

/// An area of the image from the tiles of `level`; from coarser ones where one has not come yet.
/// Every pixel of the screen is drawn once.
void TiledImage::drawPart(int level, const QRectF& area, const ViewTransform& transform,
                          QuadPainter& painter) {
    if (level >= static_cast<int>(source_->levels().size())) return;
    const QSizeF step = tileSize(level);
    // A sliver of rounding does not make a neighbour wanted.
    const double slack = 1e-6 * step.width();
    for (int64_t row = std::max<int64_t>(0, cell((area.top() + slack) / step.height()));
         row <= std::min(source_->rows(level) - 1, cell((area.bottom() - slack) / step.height()));
         ++row)
        for (int64_t column = std::max<int64_t>(0, cell((area.left() + slack) / step.width()));
             column <=
             std::min(source_->columns(level) - 1, cell((area.right() - slack) / step.width()));
             ++column) {
            const QRectF whole = tileRect(level, column, row);
            const QRectF part = whole.intersected(area);
            if (part.isEmpty()) continue;
            if (auto* texture = textures_.find(key({level, column, row})))
                painter.draw(texture, transform.unturned(part),
                             QRectF((part.x() - whole.x()) / whole.width(),
                                    (part.y() - whole.y()) / whole.height(),
                                    part.width() / whole.width(), part.height() / whole.height()),
                             1);
            else
                drawPart(level + 1, part, transform, painter);
        }
}

/// How many levels coarser than `level` the finest tile over a point is, of those that are there.
int TiledImage::coarsenessAt(const QPointF& point, int level) const {
    const int count = static_cast<int>(source_->levels().size());
    for (int l = level; l < count; ++l) {
        const QSizeF step = tileSize(l);
        if (textures_.find(
                key({l, cell(point.x() / step.width()), cell(point.y() / step.height())})))
            return l - level;
    }
    return count;
}

void TiledImage::request(int level, const ViewTransform& transform) {
    const QRectF seen = transform.visibleImageRect();
    const QPolygonF area = transform.visibleImageArea();
    std::vector<TileId> missing;
    const int coarsest = static_cast<int>(source_->levels().size()) - 1;
    const auto collect = [&](int l, int ring) {
        const QSizeF step = tileSize(l);
        std::vector<TileId> here;
        for (int64_t row = std::max<int64_t>(0, cell(seen.top() / step.height()) - ring);
             row <= std::min(source_->rows(l) - 1, cell(seen.bottom() / step.height()) + ring);
             ++row)
            for (int64_t column = std::max<int64_t>(0, cell(seen.left() / step.width()) - ring);
                 column <=
                 std::min(source_->columns(l) - 1, cell(seen.right() / step.width()) + ring);
                 ++column) {
                if (transform.rotation() != 0 && ring == 0 &&
                    !area.intersects(QPolygonF(tileRect(l, column, row))))
                    continue;
                if (!textures_.find(key({l, column, row}))) here.push_back({l, column, row});
            }
        const double cx = seen.center().x() / step.width() - 0.5,
                     cy = seen.center().y() / step.height() - 0.5;
        std::sort(here.begin(), here.end(), [&](const TileId& a, const TileId& b) {
            return std::hypot(static_cast<double>(a.column) - cx, static_cast<double>(a.row) - cy) <
                   std::hypot(static_cast<double>(b.column) - cx, static_cast<double>(b.row) - cy);
        });
        missing.insert(missing.end(), here.begin(), here.end());
    };
    collect(coarsest, 0);  // also feeds the minimap
    // Where nothing nearly as fine is there, a coarser level first: a quarter of the tiles.
    if (level + 1 < coarsest && coarsenessAt(seen.center(), level) > 2) collect(level + 1, 0);
    if (level < coarsest) collect(level, 0);
    const size_t needed = missing.size();
    if (level < coarsest) collect(level, kNeighbours);  // those in sight once more, then the others
    std::vector<TileId> ahead(missing.begin() + static_cast<std::ptrdiff_t>(needed), missing.end());
    missing.resize(needed);
    const auto now = FailedTiles::Clock::now();
    const auto onItsWay = [&](const TileId& id) {
        return onTheirWay_.contains(id) || failed_.isHeldBack(id, now);
    };
    std::erase_if(missing, onItsWay);
    complete_ = missing.empty();
    std::erase_if(ahead, [&](const TileId& id) {
        return onItsWay(id) || std::find(missing.begin(), missing.end(), id) != missing.end();
    });
    missing.insert(missing.end(), ahead.begin(), ahead.end());
    if (missing.size() > kMaxTilesWanted) missing.resize(kMaxTilesWanted);
    loader_.want(missing);
}

GlTexture* TiledImage::profile() {
    if (!source_ || !useProfile_ || source_->info().iccProfile.empty()) return nullptr;
    const std::string name = prefix_ + "profile";
    if (auto* texture = textures_.find(name)) return texture;
    const auto table = profileTable(source_->info().iccProfile);
    if (table.empty()) {
        useProfile_ = false;
        return nullptr;
    }
    return textures_.insertCube(name, table, kProfileGrid);
}

}  // namespace atlas::ui
