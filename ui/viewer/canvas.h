// SPDX-License-Identifier: Apache-2.0
// The image with its layers: pan, zoom, tools, legend, scale bar and minimap. GUI thread.
#pragma once

#include <QElapsedTimer>
#include <QOpenGLBuffer>
#include <QOpenGLFunctions>
#include <QOpenGLShaderProgram>
#include <QOpenGLVertexArrayObject>
#include <QOpenGLWidget>
#include <deque>
#include <optional>

#include "ui/annotations/annotation_tool.h"
#include "ui/viewer/image_look.h"
#include "ui/viewer/overlay_layer.h"
#include "ui/viewer/texture_store.h"
#include "ui/viewer/tile_loader.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {

class Canvas : public QOpenGLWidget, protected QOpenGLFunctions {
    Q_OBJECT

  public:
    explicit Canvas(QWidget* parent = nullptr);
    ~Canvas() override;

    /// nullptr: nothing is shown. Keeps nothing of the image before.
    void setImage(std::shared_ptr<const io::ColorSource> image, std::optional<double> umPerPixel,
                  bool ground);
    /// For the scale bar, where the image does not say it.
    void setResolution(double umPerPixel, bool ground);
    bool hasImage() const { return image_ != nullptr; }

    /// Drawn in this order over the image. A raster goes to the GPU once;
    /// colours and thresholds may change without that.
    void setLayers(const std::vector<OverlayLayer>& layers);
    void setImageVisible(bool visible);
    /// Brightness, contrast, gamma, stain: nothing is read again.
    void setLook(const ImageLook& look);
    /// The whole image, small; null until its coarsest tiles have come.
    const QImage& smallPicture() const { return minimap_; }
    qint64 tilesLoaded() const { return tilesLoaded_; }
    void setTool(Tool tool);
    /// Draws the store's annotations and lets the tools change them.
    void setAnnotations(AnnotationStore* store, MeasureText measure);
    void setAnnotationClass(const QString& name) { annotating_.setClass(name); }
    const QString& annotationClass() const { return annotating_.className(); }
    void cancelDrawing();
    Tool tool() const { return tool_; }

    const ViewTransform& transform() const { return transform_; }
    void fit();
    void goTo(const QPointF& centre, double scale);
    /// With room around it.
    void showBox(const QRectF& box);
    void zoomBy(double factor);
    void panBy(const QPointF& viewPixels);

    /// The rectangle drawn with the tool, level-0 pixels; null if there is none.
    QRectF region() const { return region_; }
    void setRegion(const QRectF& region);
    /// Marks what a probe was asked about: context and token, level-0 pixels.
    void setProbeBoxes(const std::vector<QRectF>& boxes);

    /// Every tile of the view is sharp and drawn; those around it may still be on their way.
    bool settled() const;
    qint64 textureBytes() const { return textures_.bytes(); }
    static qint64 textureBudget();

  Q_SIGNALS:
    void viewChanged();
    void hovered(QPointF imagePoint, bool inside);
    void regionChanged(QRectF region);
    void probed(QPointF imagePoint, bool second);  ///< second: with Shift
    void filesDropped(QStringList paths);
    void problem(QString text);
    void smallPictureChanged();

  protected:
    void initializeGL() override;
    void paintGL() override;
    void resizeGL(int w, int h) override;
    void mousePressEvent(QMouseEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void mouseDoubleClickEvent(QMouseEvent* event) override;
    void wheelEvent(QWheelEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

  private:
    void onLoaded(int generation, const TileId& id, const io::TilePtr& tile);
    void uploadArrived();
    void drawImage();
    void drawPart(int level, const QRectF& area);
    QSizeF tileSize(int level) const;
    void drawLayer(const OverlayLayer& layer);
    void setLookUniforms();
    QOpenGLTexture* colorsOf(const OverlayLayer& layer);
    void drawQuad(QOpenGLTexture* texture, const QRectF& view, const QRectF& part, double opacity);
    QRectF tileRect(int level, int64_t column, int64_t row) const;
    int wantedLevel() const;
    void requestTiles(int level);
    void changed();
    double reach() const;  ///< image pixels that a click may be off
    void decorate();
    QRectF minimapRect() const;
    void jumpTo(const QPointF& minimapPoint);
    static std::string tileKey(const TileId& id);

    std::shared_ptr<const io::ColorSource> image_;
    std::optional<double> umPerPixel_;
    bool ground_ = false;
    ViewTransform transform_;
    std::vector<OverlayLayer> layers_;
    bool imageVisible_ = true;
    ImageLook look_;
    qint64 tilesLoaded_ = 0;
    TileLoader loader_;
    TextureStore textures_;
    std::deque<std::pair<TileId, io::TilePtr>> arrived_;
    std::set<TileId> failedTiles_;
    QImage minimap_;
    QOpenGLShaderProgram program_;
    QOpenGLVertexArrayObject vertexArray_;
    QOpenGLBuffer corners_{QOpenGLBuffer::VertexBuffer};
    Tool tool_ = Tool::Move;
    AnnotationTool annotating_;
    MeasureText measure_;
    QRectF region_;
    std::vector<QRectF> probeBoxes_;
    QPointF pressed_, last_;
    bool dragging_ = false, drawingRegion_ = false, onMinimap_ = false, fitPending_ = false;
    bool complete_ = false;
};

}  // namespace atlas::ui
