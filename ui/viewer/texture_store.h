// SPDX-License-Identifier: Apache-2.0
// Textures of one canvas, bounded by bytes, least recently drawn first out. GL thread only, with
// the canvas' context current.
#pragma once

#include <QImage>
#include <QOpenGLTexture>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::ui {

/// A texture of QOpenGLTexture's making or one that was made elsewhere; dies in the GL thread.
class GlTexture {
  public:
    explicit GlTexture(std::unique_ptr<QOpenGLTexture> texture) : made_(std::move(texture)) {}
    explicit GlTexture(unsigned name) : name_(name) {}
    ~GlTexture();
    GlTexture(const GlTexture&) = delete;
    GlTexture& operator=(const GlTexture&) = delete;
    void bind();

  private:
    std::unique_ptr<QOpenGLTexture> made_;
    unsigned name_ = 0;
};

class TextureStore {
  public:
    explicit TextureStore(qint64 budgetBytes) : budgetBytes_(budgetBytes) {}

    /// nullptr if it is not there.
    GlTexture* find(const std::string& key);
    GlTexture* insert(const std::string& key, const QImage& picture, bool smooth);
    /// A decoded tile as it is: nothing is converted in the GUI thread.
    GlTexture* insertTile(const std::string& key, const io::RgbaImage& tile);
    /// One float32 a texel, [h, w]; not interpolated.
    GlTexture* insertValues(const std::string& key, const std::vector<float>& values, int w, int h);
    /// RGBA of a cube of side^3 colours, interpolated.
    GlTexture* insertCube(const std::string& key, const std::vector<uint8_t>& rgba, int side);
    /// A 2-D texture that was made elsewhere; belongs to the store from now on.
    GlTexture* adopt(const std::string& key, unsigned name, qint64 bytes);
    /// Lets go of the oldest at the next insertion.
    void setBudget(qint64 bytes) { budgetBytes_ = bytes; }
    qint64 budget() const { return budgetBytes_; }
    void removePrefix(const std::string& prefix);
    void clear();
    qint64 bytes() const { return bytes_; }

  private:
    struct Entry {
        std::unique_ptr<GlTexture> texture;
        qint64 bytes;
        std::list<std::string>::iterator place;
    };
    GlTexture* keep(const std::string& key, std::unique_ptr<GlTexture> texture, qint64 bytes);
    void erase(std::map<std::string, Entry>::iterator it);

    std::map<std::string, Entry> entries_;
    std::list<std::string> order_;
    qint64 budgetBytes_, bytes_ = 0;
};

}  // namespace atlas::ui
