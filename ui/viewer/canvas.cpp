// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/canvas.h"

#include <QDragEnterEvent>
#include <QFocusEvent>
#include <QKeyEvent>
#include <QMimeData>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/viewer/decorations.h"

namespace atlas::ui {
namespace {

constexpr int kUploadNs = 3'000'000;  // of a frame, at least one tile
constexpr int kLayerPart = 1024;      // cells a side of one layer texture
constexpr double kMinimapPx = 150;
constexpr double kLensPx = 130;    // its radius
constexpr double kSwipeReach = 6;  // view pixels beside the line that take hold of it
constexpr double kWheelTurn = 5;   // degrees a notch

}  // namespace

Canvas::Canvas(QWidget* parent) : QOpenGLWidget(parent) {
    setObjectName("viewer.canvas");
    setAccessibleName(tr("Image viewer"));
    setMouseTracking(true);
    setAcceptDrops(true);
    setFocusPolicy(Qt::StrongFocus);
    setMinimumSize(240, 180);
    for (auto* image : {&main_, &other_}) {
        connect(image, &TiledImage::arrived, this, qOverload<>(&QWidget::update));
        connect(image, &TiledImage::problem, this, &Canvas::problem);
    }
    connect(&main_, &TiledImage::smallPictureChanged, this, &Canvas::smallPictureChanged);
}

Canvas::~Canvas() {
    uploader_.stop();
    makeCurrent();
    main_.setSource(nullptr);
    other_.setSource(nullptr);
    textures_.clear();
    quads_.destroy();
    doneCurrent();
}

void Canvas::setImage(std::shared_ptr<const io::ColorSource> image,
                      std::optional<double> umPerPixel, bool ground) {
    makeCurrent();
    textures_.clear();
    main_.setSource(std::move(image));
    other_.setSource(nullptr);
    doneCurrent();
    compare_ = CompareMode::Off;
    umPerPixel_ = umPerPixel;
    ground_ = ground;
    scaleNote_.clear();
    region_ = {};
    probeBoxes_.clear();
    if (hasImage()) {
        transform_.setImageSize(main_.size());
        transform_.setViewSize(size());
        transform_.setRotation(0);
        transform_.fit();
        fitPending_ = true;
    }
    changed();
}

void Canvas::setUseProfile(bool use) {
    main_.useProfile(use);
    other_.useProfile(use);
    update();
}

void Canvas::setCompare(CompareMode mode, std::shared_ptr<const io::ColorSource> other,
                        const ViewLink& link, const QString& hidden) {
    compare_ = mode;
    link_ = link;
    hiddenLayer_ = hidden;
    makeCurrent();
    if (other != other_.source()) other_.setSource(std::move(other));
    doneCurrent();
    lens_ = QPointF(width() / 2.0, height() / 2.0);
    update();
}

void Canvas::setSwipe(double share) {
    swipe_ = std::clamp(share, 0.0, 1.0);
    update();
}

void Canvas::setLens(const QPointF& viewPoint) {
    lens_ = viewPoint;
    update();
}

void Canvas::setResolution(std::optional<double> umPerPixel, bool ground, const QString& note) {
    umPerPixel_ = umPerPixel;
    ground_ = ground;
    scaleNote_ = note;
    update();
}

QString Canvas::scaleBar() const {
    if (!hasImage() || !umPerPixel_) return {};
    return scaleBarText(scaleBarLengthUm(*umPerPixel_ / transform_.scale()), ground_, scaleNote_);
}

void Canvas::setLayers(const std::vector<OverlayLayer>& layers) {
    makeCurrent();
    for (const auto& old : layers_) {
        const auto now = std::find_if(layers.begin(), layers.end(),
                                      [&](const OverlayLayer& l) { return l.id == old.id; });
        if (now == layers.end() || now->raster != old.raster || now->band != old.band)
            textures_.removePrefix("layer/" + old.id.toStdString() + "/");
    }
    doneCurrent();
    layers_ = layers;
    update();
}

void Canvas::setLook(const ImageLook& look) {
    look_ = look;
    update();
}

void Canvas::setImageVisible(bool visible) {
    imageVisible_ = visible;
    update();
}

void Canvas::setAnnotations(AnnotationStore* store, MeasureText measure) {
    annotating_.setStore(store);
    measure_ = std::move(measure);
    connect(store, &AnnotationStore::changed, this, qOverload<>(&QWidget::update));
    connect(store, &AnnotationStore::selectionChanged, this, qOverload<>(&QWidget::update));
}

void Canvas::cancelDrawing() {
    annotating_.cancel();
    update();
}

double Canvas::reach() const {
    return 6 / transform_.scale();
}

void Canvas::setTool(Tool tool) {
    if (tool != tool_) annotating_.cancel();
    tool_ = tool;
    setCursor(tool == Tool::Move ? Qt::OpenHandCursor : Qt::CrossCursor);
}

void Canvas::fit() {
    transform_.fit();
    changed();
}

void Canvas::setRotation(double degrees) {
    transform_.setRotation(degrees);
    if (fitPending_) transform_.fit();
    changed();
}

void Canvas::goTo(const QPointF& centre, double scale) {
    fitPending_ = false;
    transform_.goTo(centre, scale);
    changed();
}

void Canvas::follow(const ViewTransform& other, const ViewLink& link) {
    fitPending_ = false;
    link.apply(other, transform_);
    changed();
}

void Canvas::showBox(const QRectF& box) {
    const QSizeF view = transform_.viewSize();
    goTo(box.center(), 0.6 * std::min(view.width() / std::max(1.0, box.width()),
                                      view.height() / std::max(1.0, box.height())));
}

void Canvas::zoomBy(double factor) {
    transform_.zoom(factor, QPointF(width() / 2.0, height() / 2.0));
    changed();
}

void Canvas::panBy(const QPointF& viewPixels) {
    transform_.pan(viewPixels);
    changed();
}

void Canvas::setRegion(const QRectF& region) {
    region_ = region;
    update();
}

void Canvas::setProbeBoxes(const std::vector<QRectF>& boxes) {
    probeBoxes_ = boxes;
    update();
}

void Canvas::changed() {
    main_.touch();
    if (other_.source()) other_.touch();
    update();
    Q_EMIT viewChanged();
}

bool Canvas::settled() const {
    return !hasImage() || (main_.complete() && (!other_.source() || other_.complete()));
}

void Canvas::initializeGL() {
    initializeOpenGLFunctions();
    const QString error = quads_.create();
    // A context that was lost took its textures along.
    textures_.clear();
    main_.setSource(main_.source());
    other_.setSource(other_.source());
    uploader_.start(context());
    connect(context(), &QOpenGLContext::aboutToBeDestroyed, &uploader_, &TextureUploader::stop);
    if (!error.isEmpty()) Q_EMIT problem(tr("OpenGL 3.3 is needed: %1").arg(error));
}

void Canvas::resizeGL(int w, int h) {
    const bool wasFit = fitPending_;
    transform_.setViewSize(QSizeF(w, h));
    if (wasFit && hasImage()) transform_.fit();
    changed();
}

void Canvas::paintGL() {
    const QColor ground =
        palette()
            .color(QPalette::Window)
            .darker(palette().color(QPalette::Window).lightness() < 128 ? 140 : 108);
    glClearColor(static_cast<float>(ground.redF()), static_cast<float>(ground.greenF()),
                 static_cast<float>(ground.blueF()), 1);
    glClear(GL_COLOR_BUFFER_BIT);
    for (auto* image : {&main_, &other_}) image->deleteStale();
    if (hasImage()) {
        const bool more = main_.upload(kUploadNs);
        if (more || (other_.source() && other_.upload(kUploadNs))) update();
        Clip here, there;
        if (compare_ == CompareMode::Swipe) {
            here = {Clip::Kind::LeftOf, swipe_ * width(), 0, 0};
            there = {Clip::Kind::RightOf, swipe_ * width(), 0, 0};
        } else if (compare_ == CompareMode::Lens) {
            here = {Clip::Kind::Outside, lens_.x(), lens_.y(), kLensPx};
            there = {Clip::Kind::Inside, lens_.x(), lens_.y(), kLensPx};
        }
        quads_.begin(transform_, devicePixelRatioF());
        quads_.setClip(here);
        drawScene(main_, transform_, {}, true);
        if (compare_ != CompareMode::Off && !other_.source()) {
            quads_.setClip(there);
            drawScene(main_, transform_, hiddenLayer_, !hiddenLayer_.isEmpty());
        }
        quads_.end();
        if (compare_ != CompareMode::Off && other_.source()) {
            const ViewTransform transform = otherTransform();
            quads_.begin(transform, devicePixelRatioF());
            quads_.setClip(there);
            drawScene(other_, transform, {}, false);
            quads_.end();
        }
    }
    if (!decorated_) return;
    QPainter painter(this);
    decorate(painter);
}

/// The image, and the layers but one over it.
void Canvas::drawScene(TiledImage& image, const ViewTransform& transform, const QString& hidden,
                       bool layers) {
    quads_.setLook(look_, image.profile());
    image.show(transform, devicePixelRatioF(), quads_, imageVisible_);
    if (!layers) return;
    for (const auto& layer : layers_)
        if (layer.visible && layer.raster && layer.raster->width > 0 && layer.id != hidden)
            drawLayer(layer);
}

ViewTransform Canvas::otherTransform() const {
    ViewTransform t = transform_;
    t.setImageSize(other_.size());
    link_.apply(transform_, t);
    return t;
}

void Canvas::drawLayer(const OverlayLayer& layer) {
    const auto& raster = *layer.raster;
    quads_.setLayer(layer, colorsOf(layer));
    const QRectF seen = transform_.visibleImageArea().boundingRect();
    for (int y = 0; y < raster.height; y += kLayerPart)
        for (int x = 0; x < raster.width; x += kLayerPart) {
            const int w = std::min(kLayerPart, raster.width - x),
                      h = std::min(kLayerPart, raster.height - y);
            const QRectF place(raster.x + x * raster.cellWidth, raster.y + y * raster.cellHeight,
                               w * raster.cellWidth, h * raster.cellHeight);
            // Contexts may reach over the image's edge; what is drawn does not.
            const QRectF inside = place.intersected(QRectF({0, 0}, transform_.imageSize()));
            if (!inside.intersects(seen)) continue;
            const QRectF part((inside.x() - place.x()) / place.width(),
                              (inside.y() - place.y()) / place.height(),
                              inside.width() / place.width(), inside.height() / place.height());
            const std::string key = "layer/" + layer.id.toStdString() + "/" + std::to_string(x) +
                                    "/" + std::to_string(y);
            auto* texture = textures_.find(key);
            if (!texture) texture = textures_.insertValues(key, layer.values(x, y, w, h), w, h);
            quads_.draw(texture, transform_.unturned(inside), part, layer.opacity);
        }
}

/// The colours of a layer as a strip of pixels, kept under what they are.
GlTexture* Canvas::colorsOf(const OverlayLayer& layer) {
    const QImage strip = layer.colorStrip();
    const std::string key =
        "colors/" + std::string(reinterpret_cast<const char*>(strip.constBits()),
                                static_cast<size_t>(strip.sizeInBytes()));
    auto* texture = textures_.find(key);
    return texture ? texture : textures_.insert(key, strip, false);
}

QImage Canvas::pictureWithoutDecorations() {
    decorated_ = false;
    const QImage picture = grabFramebuffer();
    decorated_ = true;
    update();
    return picture;
}

void Canvas::decorate(QPainter& painter) {
    painter.setRenderHint(QPainter::Antialiasing);
    if (!hasImage()) return;
    const auto outline = [&](const QRectF& area, const QColor& color) {
        const QPolygonF corners = transform_.viewFromImage(area);
        painter.setBrush(Qt::NoBrush);
        painter.setPen(QPen(Qt::black, 3));
        painter.drawPolygon(corners);
        painter.setPen(QPen(color, 1.5));
        painter.drawPolygon(corners);
    };
    if (measure_) annotating_.paint(painter, transform_, QRectF(rect()), measure_);
    if (!region_.isEmpty()) outline(region_, QColor(255, 210, 60));
    for (const auto& box : probeBoxes_) outline(box, QColor(255, 255, 255));
    if (compare_ == CompareMode::Swipe) drawSwipe(painter, QRectF(rect()), swipe_);
    if (compare_ == CompareMode::Lens) drawLens(painter, lens_, kLensPx);
    drawLegend(painter, QRectF(rect()), layers_);
    if (umPerPixel_)
        drawScaleBar(painter, QRectF(rect()), *umPerPixel_ / transform_.scale(), ground_,
                     scaleNote_);
    if (!main_.smallPicture().isNull())
        drawMinimap(painter, minimapRect(), main_.smallPicture(), transform_);
    if (transform_.rotation() != 0) drawUpArrow(painter, QRectF(rect()), transform_.rotation());
}

bool Canvas::onSwipeLine(const QPointF& p) const {
    return compare_ == CompareMode::Swipe && std::abs(p.x() - swipe_ * width()) <= kSwipeReach;
}

QRectF Canvas::minimapRect() const {
    const double most = std::min(kMinimapPx, std::max(60.0, 0.22 * width()));
    const QSizeF size = transform_.imageSize().scaled(most, most, Qt::KeepAspectRatio);
    return QRectF(width() - size.width() - 12, height() - size.height() - 12, size.width(),
                  size.height());
}

void Canvas::jumpTo(const QPointF& p) {
    const QRectF map = minimapRect();
    const QPointF share((p.x() - map.x()) / map.width(), (p.y() - map.y()) / map.height());
    goTo(QPointF(share.x() * transform_.imageSize().width(),
                 share.y() * transform_.imageSize().height()),
         transform_.scale());
}

void Canvas::mousePressEvent(QMouseEvent* event) {
    if (!hasImage() || (event->button() != Qt::LeftButton && event->button() != Qt::MiddleButton))
        return;
    setFocus();
    pressed_ = last_ = event->position();
    onMinimap_ = !main_.smallPicture().isNull() && minimapRect().contains(pressed_);
    if (onMinimap_) return jumpTo(pressed_);
    swiping_ = onSwipeLine(pressed_) && event->button() == Qt::LeftButton;
    if (swiping_) return;
    const bool pans = event->button() == Qt::MiddleButton || spaceDown_;
    if (tool_ == Tool::Rectangle && !pans) {
        drawingRegion_ = true;
        return;
    }
    if (tool_ == Tool::Probe && !pans) {
        Q_EMIT probed(transform_.imageFromView(pressed_),
                      event->modifiers().testFlag(Qt::ShiftModifier));
        return;
    }
    if (!pans && annotating_.press(tool_, transform_.imageFromView(pressed_), reach(),
                                   event->modifiers().testFlag(Qt::AltModifier)))
        return update();
    dragging_ = true;
    setCursor(Qt::ClosedHandCursor);
}

void Canvas::mouseMoveEvent(QMouseEvent* event) {
    if (!hasImage()) return;
    const QPointF now = event->position();
    if (compare_ == CompareMode::Lens) setLens(now);
    if (onMinimap_) {
        jumpTo(now);
    } else if (swiping_) {
        setSwipe(now.x() / width());
    } else if (drawingRegion_) {
        const QRectF whole(QPointF(0, 0), transform_.imageSize());
        region_ = QRectF(transform_.imageFromView(pressed_), transform_.imageFromView(now))
                      .normalized()
                      .intersected(whole);
        update();
    } else if (!dragging_ && event->buttons().testFlag(Qt::LeftButton) &&
               annotating_.move(tool_, transform_.imageFromView(now), reach())) {
        update();
    } else if (dragging_) {
        fitPending_ = false;
        transform_.pan(now - last_);
        changed();
    }
    last_ = now;
    const QPointF at = transform_.imageFromView(now);
    Q_EMIT hovered(at, QRectF(QPointF(0, 0), transform_.imageSize()).contains(at));
}

void Canvas::mouseReleaseEvent(QMouseEvent* event) {
    if (!hasImage()) return;
    const bool still = (event->position() - pressed_).manhattanLength() < 4;
    if (dragging_ && still && tool_ == Tool::Move && annotating_.store())
        annotating_.store()->select(
            annotating_.store()->at(transform_.imageFromView(pressed_), reach()));
    else if (!dragging_ && !drawingRegion_ && !onMinimap_ && !swiping_ &&
             event->button() == Qt::LeftButton)
        annotating_.release(tool_, transform_.imageFromView(event->position()), reach());
    update();
    if (drawingRegion_) {
        if (region_.width() < 2 || region_.height() < 2) region_ = {};
        Q_EMIT regionChanged(region_);
        update();
    }
    dragging_ = drawingRegion_ = onMinimap_ = swiping_ = false;
    setTool(tool_);
}

void Canvas::mouseDoubleClickEvent(QMouseEvent* event) {
    if (!hasImage()) return;
    if (annotating_.doubleClick(tool_)) return update();
    if (tool_ != Tool::Move) return;
    fitPending_ = false;
    transform_.zoom(2, event->position());
    changed();
}

void Canvas::wheelEvent(QWheelEvent* event) {
    if (!hasImage()) return;
    if (event->modifiers() == (Qt::ControlModifier | Qt::ShiftModifier)) {
        const int notch = event->angleDelta().y() + event->angleDelta().x();
        return setRotation(transform_.rotation() + kWheelTurn * notch / 120);
    }
    fitPending_ = false;
    transform_.zoom(std::pow(2.0, event->angleDelta().y() / 240.0), event->position());
    changed();
}

/// With Space held down every tool pans.
void Canvas::keyPressEvent(QKeyEvent* event) {
    if (event->key() != Qt::Key_Space) return QOpenGLWidget::keyPressEvent(event);
    if (event->isAutoRepeat()) return;
    spaceDown_ = true;
    setCursor(Qt::OpenHandCursor);
}

void Canvas::keyReleaseEvent(QKeyEvent* event) {
    if (event->key() != Qt::Key_Space) return QOpenGLWidget::keyReleaseEvent(event);
    if (event->isAutoRepeat()) return;
    spaceDown_ = false;
    setTool(tool_);
}

void Canvas::focusOutEvent(QFocusEvent* event) {
    spaceDown_ = false;
    QOpenGLWidget::focusOutEvent(event);
}

void Canvas::leaveEvent(QEvent*) {
    Q_EMIT hovered({}, false);
}

void Canvas::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void Canvas::dropEvent(QDropEvent* event) {
    QStringList paths;
    for (const auto& url : event->mimeData()->urls())
        if (url.isLocalFile()) paths << url.toLocalFile();
    if (!paths.isEmpty()) Q_EMIT filesDropped(paths);
}

}  // namespace atlas::ui
