// SPDX-License-Identifier: Apache-2.0
// The image with its layers: pan, zoom, tools, legend, scale bar and minimap. GUI thread.
#pragma once

#include <QOpenGLFunctions>
#include <QOpenGLWidget>
#include <optional>

#include "ui/annotations/annotation_tool.h"
#include "ui/viewer/tiled_image.h"
#include "ui/viewer/view_link.h"

namespace atlas::ui {

/// One side of a line that the user drags, or a lens at the pointer, shows something else.
enum class CompareMode { Off, Swipe, Lens };

class Canvas : public QOpenGLWidget, protected QOpenGLFunctions {
    Q_OBJECT

  public:
    explicit Canvas(QWidget* parent = nullptr);
    ~Canvas() override;

    /// nullptr: nothing is shown. Keeps nothing of the image before.
    void setImage(std::shared_ptr<const io::ColorSource> image, std::optional<double> umPerPixel,
                  bool ground);
    /// For the scale bar, where the image does not say it.
    /// Of the scale bar; `note` is written beside its length.
    void setResolution(std::optional<double> umPerPixel, bool ground, const QString& note = {});
    bool hasImage() const { return main_.source() != nullptr; }
    /// The ICC profile of an image that carries one is applied; on by default.
    void setUseProfile(bool use);

    /// Drawn in this order over the image. A raster goes to the GPU once;
    /// colours and thresholds may change without that.
    /// What stands over the scale bar; empty: there is none.
    QString scaleBar() const;
    void setLayers(const std::vector<OverlayLayer>& layers);
    void setImageVisible(bool visible);
    /// Brightness, contrast, gamma, stain: nothing is read again.
    void setLook(const ImageLook& look);
    /// The whole image, small; null until its coarsest tiles have come.
    const QImage& smallPicture() const { return main_.smallPicture(); }
    qint64 tilesLoaded() const { return main_.tilesLoaded(); }

    /// Right of the line, or in the lens, `other` is drawn in its place (aligned by `link`), or,
    /// without another image, this one without the layer `hidden` (empty: without any).
    void setCompare(CompareMode mode, std::shared_ptr<const io::ColorSource> other = nullptr,
                    const ViewLink& link = {}, const QString& hidden = {});
    CompareMode compareMode() const { return compare_; }
    /// Where the line of the swipe is, a share of the width.
    void setSwipe(double share);
    double swipe() const { return swipe_; }
    void setLens(const QPointF& viewPoint);
    void setTool(Tool tool);
    /// Draws the store's annotations and lets the tools change them.
    void setAnnotations(AnnotationStore* store, MeasureText measure);
    void setAnnotationClass(const QString& name) { annotating_.setClass(name); }
    const QString& annotationClass() const { return annotating_.className(); }
    void cancelDrawing();
    Tool tool() const { return tool_; }

    const ViewTransform& transform() const { return transform_; }
    void fit();
    /// Clockwise degrees; the middle of the view stays.
    void setRotation(double degrees);
    void goTo(const QPointF& centre, double scale);
    /// Shows what another view shows: `link` leads from its image to this one.
    void follow(const ViewTransform& other, const ViewLink& link);
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
    /// Tiles go to the graphics card in a thread of their own; else in the GUI thread, bounded.
    bool uploadsInThread() const { return uploader_.running(); }
    qint64 textureBudget() const { return textures_.budget(); }
    void setTextureBudget(qint64 bytes) { textures_.setBudget(bytes); }
    static constexpr qint64 kDefaultTextureBudget = qint64{384} << 20;
    /// The view as `picture`, its decorations (legend, scale bar, annotations) drawn by `painter`
    /// instead of into it: for files that keep lines and text as such.
    QImage pictureWithoutDecorations();
    void decorate(QPainter& painter);

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
    void keyPressEvent(QKeyEvent* event) override;
    void keyReleaseEvent(QKeyEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

  private:
    void drawScene(TiledImage& image, const ViewTransform& transform, const QString& hidden,
                   bool layers);
    void drawLayer(const OverlayLayer& layer);
    GlTexture* colorsOf(const OverlayLayer& layer);
    ViewTransform otherTransform() const;
    void changed();
    double reach() const;  ///< image pixels that a click may be off
    bool onSwipeLine(const QPointF& viewPoint) const;
    QRectF minimapRect() const;
    void jumpTo(const QPointF& minimapPoint);

    std::optional<double> umPerPixel_;
    QString scaleNote_;
    bool ground_ = false;
    ViewTransform transform_;
    std::vector<OverlayLayer> layers_;
    bool imageVisible_ = true;
    ImageLook look_;
    TextureStore textures_{kDefaultTextureBudget};
    TextureUploader uploader_;
    TiledImage main_{textures_, uploader_}, other_{textures_, uploader_};
    QuadPainter quads_;
    CompareMode compare_ = CompareMode::Off;
    ViewLink link_;
    QString hiddenLayer_;
    double swipe_ = 0.5;
    QPointF lens_;
    bool decorated_ = true;
    Tool tool_ = Tool::Move;
    AnnotationTool annotating_;
    MeasureText measure_;
    QRectF region_;
    std::vector<QRectF> probeBoxes_;
    QPointF pressed_, last_;
    bool dragging_ = false, drawingRegion_ = false, onMinimap_ = false, fitPending_ = false;
    bool swiping_ = false, spaceDown_ = false;
};

}  // namespace atlas::ui
