// SPDX-License-Identifier: Apache-2.0
// The shader program of the viewer: textured rectangles in the turned view, with looks, colour
// maps, blending and a clip. GL thread only, with the canvas' context current.
#pragma once

#include <QOpenGLBuffer>
#include <QOpenGLFunctions>
#include <QOpenGLShaderProgram>
#include <QOpenGLVertexArrayObject>
#include <array>
#include <memory>

#include "ui/viewer/image_look.h"
#include "ui/viewer/overlay_layer.h"
#include "ui/viewer/texture_store.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {

/// What part of the view is drawn; pixels of the frame buffer, y downwards.
struct Clip {
    enum class Kind { None, LeftOf, RightOf, Inside, Outside } kind = Kind::None;
    double x = 0, y = 0, radius = 0;
};

class QuadPainter : protected QOpenGLFunctions {
  public:
    /// An error in words; empty where all is well.
    QString create();
    void destroy();

    void begin(const ViewTransform& transform, double pixelRatio);
    void end();
    void setClip(const Clip& clip);
    /// Colours of the following pictures.
    void setLook(const ImageLook& look, GlTexture* profile);
    /// Values of the following quads, through `colors`.
    void setLayer(const OverlayLayer& layer, GlTexture* colors);
    /// `place`: view pixels before the turn; `part`: texture coordinates.
    void draw(GlTexture* texture, const QRectF& place, const QRectF& part, double opacity);

  private:
    enum class Variant { Plain, Look, Classes, Blocks, Smooth };
    QOpenGLShaderProgram* programFor(Variant variant);
    bool use(Variant variant);

    std::array<std::unique_ptr<QOpenGLShaderProgram>, 10>
        programs_;  ///< each with and without clip
    QOpenGLShaderProgram* program_ = nullptr;
    QString error_;
    Clip clip_;
    QPointF turn_;
    QOpenGLVertexArrayObject vertexArray_;
    QOpenGLBuffer corners_{QOpenGLBuffer::VertexBuffer};
    QSizeF view_;
    double pixelRatio_ = 1;
};

}  // namespace atlas::ui
