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

class TextureStore {
  public:
    explicit TextureStore(qint64 budgetBytes) : budgetBytes_(budgetBytes) {}

    /// nullptr if it is not there.
    QOpenGLTexture* find(const std::string& key);
    QOpenGLTexture* insert(const std::string& key, const QImage& picture, bool smooth);
    /// A decoded tile as it is: nothing is converted in the GUI thread.
    QOpenGLTexture* insertTile(const std::string& key, const io::RgbaImage& tile);
    /// One float32 a texel, [h, w]; not interpolated.
    QOpenGLTexture* insertValues(const std::string& key, const std::vector<float>& values, int w,
                                 int h);
    /// RGBA of a cube of side^3 colours, interpolated.
    QOpenGLTexture* insertCube(const std::string& key, const std::vector<uint8_t>& rgba, int side);
    /// Lets go of the oldest at the next insertion.
    void setBudget(qint64 bytes) { budgetBytes_ = bytes; }
    qint64 budget() const { return budgetBytes_; }
    void removePrefix(const std::string& prefix);
    void clear();
    qint64 bytes() const { return bytes_; }

  private:
    struct Entry {
        std::unique_ptr<QOpenGLTexture> texture;
        qint64 bytes;
        std::list<std::string>::iterator place;
    };
    QOpenGLTexture* keep(const std::string& key, std::unique_ptr<QOpenGLTexture> texture,
                         qint64 bytes);
    void erase(std::map<std::string, Entry>::iterator it);

    std::map<std::string, Entry> entries_;
    std::list<std::string> order_;
    qint64 budgetBytes_, bytes_ = 0;
};

}  // namespace atlas::ui
