// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/texture_store.h"

#include <QOpenGLContext>
#include <QOpenGLFunctions>

namespace atlas::ui {

GlTexture::~GlTexture() {
    if (name_ && QOpenGLContext::currentContext())
        QOpenGLContext::currentContext()->functions()->glDeleteTextures(1, &name_);
}

void GlTexture::bind() {
    if (made_)
        made_->bind();
    else
        QOpenGLContext::currentContext()->functions()->glBindTexture(GL_TEXTURE_2D, name_);
}

GlTexture* TextureStore::adopt(const std::string& key, unsigned name, qint64 bytes) {
    if (const auto old = entries_.find(key); old != entries_.end()) erase(old);
    return keep(key, std::make_unique<GlTexture>(name), bytes);
}

GlTexture* TextureStore::find(const std::string& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second.place);
    return found->second.texture.get();
}

GlTexture* TextureStore::insert(const std::string& key, const QImage& picture, bool smooth) {
    if (const auto old = entries_.find(key); old != entries_.end()) erase(old);
    auto texture = std::make_unique<QOpenGLTexture>(QOpenGLTexture::Target2D);
    texture->setFormat(QOpenGLTexture::RGBA8_UNorm);
    texture->setSize(picture.width(), picture.height());
    texture->setMipLevels(1);
    texture->allocateStorage(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8);
    const QImage rgba = picture.convertToFormat(QImage::Format_RGBA8888_Premultiplied);
    texture->setData(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8, rgba.constBits());
    texture->setMinMagFilters(smooth ? QOpenGLTexture::Linear : QOpenGLTexture::Nearest,
                              smooth ? QOpenGLTexture::Linear : QOpenGLTexture::Nearest);
    texture->setWrapMode(QOpenGLTexture::ClampToEdge);
    return keep(key, std::make_unique<GlTexture>(std::move(texture)),
                qint64{4} * picture.width() * picture.height());
}

GlTexture* TextureStore::insertTile(const std::string& key, const io::RgbaImage& tile) {
    if (const auto old = entries_.find(key); old != entries_.end()) erase(old);
    auto texture = std::make_unique<QOpenGLTexture>(QOpenGLTexture::Target2D);
    texture->setFormat(QOpenGLTexture::RGBA8_UNorm);
    texture->setSize(tile.width, tile.height);
    texture->setMipLevels(1);
    texture->allocateStorage(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8);
    texture->setData(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8, tile.rgba.data());
    texture->setMinMagFilters(QOpenGLTexture::Linear, QOpenGLTexture::Linear);
    texture->setWrapMode(QOpenGLTexture::ClampToEdge);
    return keep(key, std::make_unique<GlTexture>(std::move(texture)),
                qint64{4} * tile.width * tile.height);
}

GlTexture* TextureStore::insertValues(const std::string& key, const std::vector<float>& values,
                                      int w, int h) {
    if (const auto old = entries_.find(key); old != entries_.end()) erase(old);
    auto texture = std::make_unique<QOpenGLTexture>(QOpenGLTexture::Target2D);
    texture->setFormat(QOpenGLTexture::R32F);
    texture->setSize(w, h);
    texture->setMipLevels(1);
    texture->allocateStorage(QOpenGLTexture::Red, QOpenGLTexture::Float32);
    texture->setData(QOpenGLTexture::Red, QOpenGLTexture::Float32, values.data());
    texture->setMinMagFilters(QOpenGLTexture::Nearest, QOpenGLTexture::Nearest);
    texture->setWrapMode(QOpenGLTexture::ClampToEdge);
    return keep(key, std::make_unique<GlTexture>(std::move(texture)), qint64{4} * w * h);
}

GlTexture* TextureStore::insertCube(const std::string& key, const std::vector<uint8_t>& rgba,
                                    int side) {
    if (const auto old = entries_.find(key); old != entries_.end()) erase(old);
    auto texture = std::make_unique<QOpenGLTexture>(QOpenGLTexture::Target3D);
    texture->setFormat(QOpenGLTexture::RGBA8_UNorm);
    texture->setSize(side, side, side);
    texture->setMipLevels(1);
    texture->allocateStorage(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8);
    texture->setData(QOpenGLTexture::RGBA, QOpenGLTexture::UInt8, rgba.data());
    texture->setMinMagFilters(QOpenGLTexture::Linear, QOpenGLTexture::Linear);
    texture->setWrapMode(QOpenGLTexture::ClampToEdge);
    return keep(key, std::make_unique<GlTexture>(std::move(texture)),
                static_cast<qint64>(rgba.size()));
}

GlTexture* TextureStore::keep(const std::string& key, std::unique_ptr<GlTexture> texture,
                              qint64 size) {
    order_.push_front(key);
    auto* result = texture.get();
    entries_[key] = {std::move(texture), size, order_.begin()};
    bytes_ += size;
    while (bytes_ > budgetBytes_ && order_.size() > 1) erase(entries_.find(order_.back()));
    return result;
}

void TextureStore::erase(std::map<std::string, Entry>::iterator it) {
    bytes_ -= it->second.bytes;
    order_.erase(it->second.place);
    entries_.erase(it);
}

void TextureStore::removePrefix(const std::string& prefix) {
    for (auto it = entries_.lower_bound(prefix);
         it != entries_.end() && it->first.compare(0, prefix.size(), prefix) == 0;) {
        const auto next = std::next(it);
        erase(it);
        it = next;
    }
}

void TextureStore::clear() {
    entries_.clear();
    order_.clear();
    bytes_ = 0;
}

}  // namespace atlas::ui
