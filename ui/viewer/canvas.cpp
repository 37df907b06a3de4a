// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/canvas.h"

#include <QDragEnterEvent>
#include <QMimeData>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/viewer/decorations.h"

namespace atlas::ui {
namespace {

constexpr qint64 kTextureBudget = qint64{384} << 20;
constexpr int kUploadNs = 3'000'000;  // of a frame, at least one tile
constexpr int kNeighbours = 1;        // rings of tiles around the view that are fetched ahead
constexpr int kLayerPart = 1024;      // cells a side of one layer texture
constexpr size_t kMaxTilesWanted = 400;
constexpr double kMinimapPx = 150;

constexpr const char* kVertexShader = R"(#version 330 core
layout(location = 0) in vec2 corner;
uniform vec4 place;   // x, y, w, h in clip coordinates
uniform vec4 part;    // x, y, w, h in texture coordinates
out vec2 uv;
void main() {
    uv = part.xy + corner * part.zw;
    gl_Position = vec4(place.xy + corner * place.zw, 0.0, 1.0);
})";

// Everything that the user may change without reading anything again: the look of the image (mode
// 0; 3 where it is shown as it is), class colours (1) and magnitudes through a colour map (2).
// Values that are missing are kMissing. Colours leave with premultiplied alpha.
constexpr const char* kFragmentShader = R"(#version 330 core
in vec2 uv;
uniform sampler2D picture;
uniform sampler2D colors;
uniform int mode;
uniform float opacity;
uniform vec3 brightness, contrast, gamma;
uniform int stain;          // 0: all
uniform mat3 stainInverse;  // columns: weights of the optical density for each stain
uniform vec3 stainColor;    // its optical density
uniform float low, high, threshold;
uniform bool smoothly;
out vec4 color;
const float missing = -3e38;

vec3 look(vec3 c) {
    if (stain > 0) {
        float amount = max(dot(-log(max(c, vec3(1.0 / 255.0))), stainInverse[stain - 1]), 0.0);
        c = exp(-amount * abs(stainColor));
    }
    c = clamp((c - 0.5) * contrast + 0.5 + brightness, 0.0, 1.0);
    return pow(c, 1.0 / gamma);
}

float value() {
    ivec2 size = textureSize(picture, 0);
    ivec2 cell = clamp(ivec2(uv * vec2(size)), ivec2(0), size - 1);
    float here = texelFetch(picture, cell, 0).r;
    if (!smoothly || here < missing) return here;
    vec2 at = uv * vec2(size) - 0.5;
    ivec2 first = ivec2(floor(at));
    vec2 part = at - vec2(first);
    float sum = 0.0, weights = 0.0;
    for (int i = 0; i < 4; ++i) {
        ivec2 step = ivec2(i % 2, i / 2);
        float v = texelFetch(picture, clamp(first + step, ivec2(0), size - 1), 0).r;
        vec2 w = mix(1.0 - part, part, vec2(step));
        if (v >= missing) {
            sum += v * w.x * w.y;
            weights += w.x * w.y;
        }
    }
    return sum / weights;
}

void main() {
    if (mode == 3) {
        vec4 c = texture(picture, uv);
        color = vec4(c.rgb * c.a, c.a) * opacity;
        return;
    }
    if (mode == 0) {
        vec4 c = texture(picture, uv);
        color = vec4(look(c.rgb) * c.a, c.a) * opacity;
        return;
    }
    float v = value();
    if (v < missing || (mode == 2 && threshold > 0.0 && v < threshold)) discard;
    int entry = mode == 1 ? int(v + 0.5)
                          : int(clamp((v - low) / (high - low), 0.0, 1.0) * 255.0 + 0.5);
    if (entry >= textureSize(colors, 0).x) discard;
    color = vec4(texelFetch(colors, ivec2(entry, 0), 0).rgb, 1.0) * opacity;
})";

}  // namespace

Canvas::Canvas(QWidget* parent) : QOpenGLWidget(parent), textures_(kTextureBudget) {
    setObjectName("viewer.canvas");
    setAccessibleName(tr("Image viewer"));
    setMouseTracking(true);
    setAcceptDrops(true);
    setFocusPolicy(Qt::StrongFocus);
    setMinimumSize(240, 180);
    connect(&loader_, &TileLoader::loaded, this, &Canvas::onLoaded, Qt::QueuedConnection);
    connect(&loader_, &TileLoader::failed, this, &Canvas::problem, Qt::QueuedConnection);
}

Canvas::~Canvas() {
    makeCurrent();
    textures_.clear();
    vertexArray_.destroy();
    corners_.destroy();
    doneCurrent();
}

void Canvas::setImage(std::shared_ptr<const io::ColorSource> image,
                      std::optional<double> umPerPixel, bool ground) {
    makeCurrent();
    textures_.clear();
    doneCurrent();
    image_ = std::move(image);
    umPerPixel_ = umPerPixel;
    ground_ = ground;
    arrived_.clear();
    failedTiles_.clear();
    minimap_ = {};
    region_ = {};
    probeBoxes_.clear();
    loader_.setSource(image_);
    if (image_) {
        const auto& full = image_->info().levels[0];
        transform_.setImageSize(
            QSizeF(static_cast<double>(full.width), static_cast<double>(full.height)));
        transform_.setViewSize(size());
        transform_.fit();
        fitPending_ = true;
    }
    changed();
}

void Canvas::setResolution(double umPerPixel, bool ground) {
    umPerPixel_ = umPerPixel;
    ground_ = ground;
    update();
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

void Canvas::goTo(const QPointF& centre, double scale) {
    fitPending_ = false;
    transform_.goTo(centre, scale);
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
    complete_ = false;
    update();
    Q_EMIT viewChanged();
}

bool Canvas::settled() const {
    return !image_ || (complete_ && arrived_.empty());
}

void Canvas::initializeGL() {
    initializeOpenGLFunctions();
    program_.addShaderFromSourceCode(QOpenGLShader::Vertex, kVertexShader);
    program_.addShaderFromSourceCode(QOpenGLShader::Fragment, kFragmentShader);
    if (!program_.link()) Q_EMIT problem(tr("OpenGL 3.3 is needed: %1").arg(program_.log()));
    const float corners[] = {0, 0, 1, 0, 0, 1, 1, 1};
    vertexArray_.create();
    QOpenGLVertexArrayObject::Binder bind(&vertexArray_);
    corners_.create();
    corners_.bind();
    corners_.allocate(corners, sizeof corners);
    program_.enableAttributeArray(0);
    program_.setAttributeBuffer(0, GL_FLOAT, 0, 2);
}

void Canvas::resizeGL(int w, int h) {
    const bool wasFit = fitPending_;
    transform_.setViewSize(QSizeF(w, h));
    if (wasFit && image_) transform_.fit();
    changed();
}

std::string Canvas::tileKey(const TileId& id) {
    return "tile/" + std::to_string(id.level) + "/" + std::to_string(id.column) + "/" +
           std::to_string(id.row);
}

void Canvas::onLoaded(int generation, const TileId& id, const io::TilePtr& tile) {
    if (generation != loader_.generation()) return;
    arrived_.emplace_back(id, tile);
    ++tilesLoaded_;
    update();
}

qint64 Canvas::textureBudget() {
    return kTextureBudget;
}

void Canvas::uploadArrived() {
    QElapsedTimer timer;
    timer.start();
    while (!arrived_.empty() && timer.nsecsElapsed() < kUploadNs) {
        const auto [id, tile] = arrived_.front();
        arrived_.pop_front();
        const QImage picture(tile->rgba.data(), tile->width, tile->height, 4 * tile->width,
                             QImage::Format_RGBA8888);
        textures_.insertTile(tileKey(id), *tile);
        if (id.level + 1 == static_cast<int>(image_->levels().size()) &&
            image_->columns(id.level) <= 2 && image_->rows(id.level) <= 2) {
            if (minimap_.isNull()) {
                const auto& level = image_->levels().back();
                minimap_ = QImage(static_cast<int>(level.width), static_cast<int>(level.height),
                                  QImage::Format_RGBA8888);
                minimap_.fill(Qt::transparent);
            }
            QPainter painter(&minimap_);
            painter.drawImage(QPointF(static_cast<double>(id.column * io::ColorSource::kTilePx),
                                      static_cast<double>(id.row * io::ColorSource::kTilePx)),
                              picture);
            painter.end();
            Q_EMIT smallPictureChanged();
        }
    }
    if (!arrived_.empty()) update();
}

void Canvas::paintGL() {
    const QColor ground =
        palette()
            .color(QPalette::Window)
            .darker(palette().color(QPalette::Window).lightness() < 128 ? 140 : 108);
    glClearColor(static_cast<float>(ground.redF()), static_cast<float>(ground.greenF()),
                 static_cast<float>(ground.blueF()), 1);
    glClear(GL_COLOR_BUFFER_BIT);
    if (image_) {
        uploadArrived();
        glEnable(GL_BLEND);
        glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
        program_.bind();
        {
            QOpenGLVertexArrayObject::Binder bind(&vertexArray_);
            glActiveTexture(GL_TEXTURE0);
            program_.setUniformValue("picture", 0);
            program_.setUniformValue("colors", 1);
            setLookUniforms();
            drawImage();
            for (const auto& layer : layers_)
                if (layer.visible && layer.raster && layer.raster->width > 0) drawLayer(layer);
        }
        program_.release();
    }
    decorate();
}

int Canvas::wantedLevel() const {
    return image_->levelFor(1 / (transform_.scale() * devicePixelRatioF()));
}

QRectF Canvas::tileRect(int level, int64_t column, int64_t row) const {
    const auto& l = image_->levels()[static_cast<size_t>(level)];
    const auto& full = image_->info().levels[0];
    const double sx = static_cast<double>(full.width) / static_cast<double>(l.width),
                 sy = static_cast<double>(full.height) / static_cast<double>(l.height);
    const double px = io::ColorSource::kTilePx;
    const double x0 = static_cast<double>(column) * px, y0 = static_cast<double>(row) * px;
    const double x1 = std::min(x0 + px, static_cast<double>(l.width)),
                 y1 = std::min(y0 + px, static_cast<double>(l.height));
    return QRectF(QPointF(x0 * sx, y0 * sy), QPointF(x1 * sx, y1 * sy));
}

void Canvas::drawImage() {
    const int level = wantedLevel();
    requestTiles(level);
    if (!imageVisible_) return;
    const QRectF seen = transform_.visibleImageRect();
    const QSizeF step = tileSize(level);
    const auto cell = [](double v) { return static_cast<int64_t>(std::floor(v)); };
    for (int64_t row = std::max<int64_t>(0, cell(seen.top() / step.height()));
         row <= std::min(image_->rows(level) - 1, cell(seen.bottom() / step.height())); ++row)
        for (int64_t column = std::max<int64_t>(0, cell(seen.left() / step.width()));
             column <= std::min(image_->columns(level) - 1, cell(seen.right() / step.width()));
             ++column)
            drawPart(level, tileRect(level, column, row));
}

/// Image pixels that a whole tile of a level covers.
QSizeF Canvas::tileSize(int level) const {
    const auto& size = image_->levels()[static_cast<size_t>(level)];
    const auto& full = image_->info().levels[0];
    const double px = io::ColorSource::kTilePx;
    return {static_cast<double>(full.width) / static_cast<double>(size.width) * px,
            static_cast<double>(full.height) / static_cast<double>(size.height) * px};
}

/// An area of the image from the tiles of `level`; from coarser ones where one has not come yet.
/// Every pixel of the screen is drawn once.
void Canvas::drawPart(int level, const QRectF& area) {
    if (level >= static_cast<int>(image_->levels().size())) return;
    const QSizeF step = tileSize(level);
    // A sliver of rounding does not make a neighbour wanted.
    const double slack = 1e-6 * step.width();
    const auto cell = [](double v) { return static_cast<int64_t>(std::floor(v)); };
    for (int64_t row = std::max<int64_t>(0, cell((area.top() + slack) / step.height()));
         row <= std::min(image_->rows(level) - 1, cell((area.bottom() - slack) / step.height()));
         ++row)
        for (int64_t column = std::max<int64_t>(0, cell((area.left() + slack) / step.width()));
             column <=
             std::min(image_->columns(level) - 1, cell((area.right() - slack) / step.width()));
             ++column) {
            const QRectF whole = tileRect(level, column, row);
            const QRectF part = whole.intersected(area);
            if (part.isEmpty()) continue;
            if (auto* texture = textures_.find(tileKey({level, column, row})))
                drawQuad(texture, transform_.viewFromImage(part),
                         QRectF((part.x() - whole.x()) / whole.width(),
                                (part.y() - whole.y()) / whole.height(),
                                part.width() / whole.width(), part.height() / whole.height()),
                         1);
            else
                drawPart(level + 1, part);
        }
}

void Canvas::requestTiles(int level) {
    const QRectF seen = transform_.visibleImageRect();
    std::vector<TileId> missing;
    const int coarsest = static_cast<int>(image_->levels().size()) - 1;
    const auto collect = [&](int l, int ring) {
        const auto& size = image_->levels()[static_cast<size_t>(l)];
        const auto& full = image_->info().levels[0];
        const double px = io::ColorSource::kTilePx;
        const double sx = static_cast<double>(full.width) / static_cast<double>(size.width) * px,
                     sy = static_cast<double>(full.height) / static_cast<double>(size.height) * px;
        std::vector<TileId> here;
        const auto cell = [](double v) { return static_cast<int64_t>(std::floor(v)); };
        for (int64_t row = std::max<int64_t>(0, cell(seen.top() / sy) - ring);
             row <= std::min(image_->rows(l) - 1, cell(seen.bottom() / sy) + ring); ++row)
            for (int64_t column = std::max<int64_t>(0, cell(seen.left() / sx) - ring);
                 column <= std::min(image_->columns(l) - 1, cell(seen.right() / sx) + ring);
                 ++column)
                if (!textures_.find(tileKey({l, column, row}))) here.push_back({l, column, row});
        const double cx = seen.center().x() / sx - 0.5, cy = seen.center().y() / sy - 0.5;
        std::sort(here.begin(), here.end(), [&](const TileId& a, const TileId& b) {
            return std::hypot(static_cast<double>(a.column) - cx, static_cast<double>(a.row) - cy) <
                   std::hypot(static_cast<double>(b.column) - cx, static_cast<double>(b.row) - cy);
        });
        missing.insert(missing.end(), here.begin(), here.end());
    };
    collect(coarsest, 0);  // also feeds the minimap
    if (level + 1 < coarsest) collect(level + 1, 0);
    if (level < coarsest) collect(level, 0);
    const size_t needed = missing.size();
    if (level < coarsest) collect(level, kNeighbours);  // those in sight once more, then the others
    std::vector<TileId> ahead(missing.begin() + static_cast<std::ptrdiff_t>(needed), missing.end());
    missing.resize(needed);
    const auto onItsWay = [&](const TileId& id) {
        return std::any_of(arrived_.begin(), arrived_.end(),
                           [&](const auto& a) { return a.first == id; });
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

void Canvas::drawLayer(const OverlayLayer& layer) {
    const auto& raster = *layer.raster;
    const bool classes = layer.kind == OverlayLayer::Kind::Classes;
    glActiveTexture(GL_TEXTURE1);
    colorsOf(layer)->bind();
    glActiveTexture(GL_TEXTURE0);
    program_.setUniformValue("mode", classes ? 1 : 2);
    program_.setUniformValue("low", static_cast<float>(layer.low));
    program_.setUniformValue(
        "high", static_cast<float>(layer.high > layer.low ? layer.high : layer.low + 1));
    program_.setUniformValue("threshold", static_cast<float>(layer.threshold));
    program_.setUniformValue("smoothly", layer.smooth && !classes);
    for (int y = 0; y < raster.height; y += kLayerPart)
        for (int x = 0; x < raster.width; x += kLayerPart) {
            const int w = std::min(kLayerPart, raster.width - x),
                      h = std::min(kLayerPart, raster.height - y);
            const QRectF place(raster.x + x * raster.cellWidth, raster.y + y * raster.cellHeight,
                               w * raster.cellWidth, h * raster.cellHeight);
            const QRectF view = transform_.viewFromImage(place);
            if (!view.intersects(QRectF(rect()))) continue;
            const std::string key = "layer/" + layer.id.toStdString() + "/" + std::to_string(x) +
                                    "/" + std::to_string(y);
            auto* texture = textures_.find(key);
            if (!texture) texture = textures_.insertValues(key, layer.values(x, y, w, h), w, h);
            drawQuad(texture, view, QRectF(0, 0, 1, 1), layer.opacity);
        }
}

void Canvas::setLookUniforms() {
    const auto three = [this](const char* name, const auto& of) {
        program_.setUniformValue(name, QVector3D(static_cast<float>(of(look_.channels[0])),
                                                 static_cast<float>(of(look_.channels[1])),
                                                 static_cast<float>(of(look_.channels[2]))));
    };
    program_.setUniformValue("mode", look_ == ImageLook() ? 3 : 0);
    three("brightness", [](const ChannelLook& c) { return c.brightness; });
    three("contrast", [](const ChannelLook& c) { return c.contrast; });
    three("gamma", [](const ChannelLook& c) { return c.gamma; });
    program_.setUniformValue("stain", static_cast<int>(look_.stain));
    if (look_.stain == Stain::All) return;
    const auto inverse = stainInverse(), vectors = stainVectors();
    QMatrix3x3 matrix;  // GLSL's columns are ours: the weights of one stain
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column)
            matrix(row, column) =
                static_cast<float>(inverse[static_cast<size_t>(row)][static_cast<size_t>(column)]);
    program_.setUniformValue("stainInverse", matrix);
    const auto& color = vectors[static_cast<size_t>(look_.stain) - 1];
    program_.setUniformValue("stainColor",
                             QVector3D(static_cast<float>(color[0]), static_cast<float>(color[1]),
                                       static_cast<float>(color[2])));
}

/// The colours of a layer as a strip of pixels, kept under what they are.
QOpenGLTexture* Canvas::colorsOf(const OverlayLayer& layer) {
    const QImage strip = layer.colorStrip();
    const std::string key =
        "colors/" + std::string(reinterpret_cast<const char*>(strip.constBits()),
                                static_cast<size_t>(strip.sizeInBytes()));
    auto* texture = textures_.find(key);
    return texture ? texture : textures_.insert(key, strip, false);
}

void Canvas::drawQuad(QOpenGLTexture* texture, const QRectF& view, const QRectF& part,
                      double opacity) {
    const double w = width(), h = height();
    program_.setUniformValue("place", QVector4D(static_cast<float>(view.x() / w * 2 - 1),
                                                static_cast<float>(1 - view.y() / h * 2),
                                                static_cast<float>(view.width() / w * 2),
                                                static_cast<float>(-view.height() / h * 2)));
    program_.setUniformValue(
        "part", QVector4D(static_cast<float>(part.x()), static_cast<float>(part.y()),
                          static_cast<float>(part.width()), static_cast<float>(part.height())));
    program_.setUniformValue("opacity", static_cast<float>(opacity));
    texture->bind();
    glDrawArrays(GL_TRIANGLE_STRIP, 0, 4);
}

void Canvas::decorate() {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    if (!image_) return;
    const auto outline = [&](const QRectF& area, const QColor& color) {
        painter.setBrush(Qt::NoBrush);
        painter.setPen(QPen(Qt::black, 3));
        painter.drawRect(area);
        painter.setPen(QPen(color, 1.5));
        painter.drawRect(area);
    };
    if (measure_) annotating_.paint(painter, transform_, QRectF(rect()), measure_);
    if (!region_.isEmpty()) outline(transform_.viewFromImage(region_), QColor(255, 210, 60));
    for (const auto& box : probeBoxes_)
        outline(transform_.viewFromImage(box), QColor(255, 255, 255));
    drawLegend(painter, QRectF(rect()), layers_);
    if (umPerPixel_)
        drawScaleBar(painter, QRectF(rect()), *umPerPixel_ / transform_.scale(), ground_);
    if (!minimap_.isNull()) drawMinimap(painter, minimapRect(), minimap_, transform_);
}

QRectF Canvas::minimapRect() const {
    const QSizeF size = transform_.imageSize().scaled(kMinimapPx, kMinimapPx, Qt::KeepAspectRatio);
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
    if (!image_ || (event->button() != Qt::LeftButton && event->button() != Qt::MiddleButton))
        return;
    setFocus();
    pressed_ = last_ = event->position();
    onMinimap_ = !minimap_.isNull() && minimapRect().contains(pressed_);
    if (onMinimap_) return jumpTo(pressed_);
    if (tool_ == Tool::Rectangle && event->button() == Qt::LeftButton) {
        drawingRegion_ = true;
        return;
    }
    if (tool_ == Tool::Probe && event->button() == Qt::LeftButton) {
        Q_EMIT probed(transform_.imageFromView(pressed_),
                      event->modifiers().testFlag(Qt::ShiftModifier));
        return;
    }
    if (event->button() == Qt::LeftButton &&
        annotating_.press(tool_, transform_.imageFromView(pressed_), reach()))
        return update();
    dragging_ = true;
    setCursor(Qt::ClosedHandCursor);
}

void Canvas::mouseMoveEvent(QMouseEvent* event) {
    if (!image_) return;
    const QPointF now = event->position();
    if (onMinimap_) {
        jumpTo(now);
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
    if (!image_) return;
    const bool still = (event->position() - pressed_).manhattanLength() < 4;
    if (dragging_ && still && tool_ == Tool::Move && annotating_.store())
        annotating_.store()->select(
            annotating_.store()->at(transform_.imageFromView(pressed_), reach()));
    else if (!dragging_ && !drawingRegion_ && !onMinimap_ && event->button() == Qt::LeftButton)
        annotating_.release(tool_, transform_.imageFromView(event->position()), reach());
    update();
    if (drawingRegion_) {
        if (region_.width() < 2 || region_.height() < 2) region_ = {};
        Q_EMIT regionChanged(region_);
        update();
    }
    dragging_ = drawingRegion_ = onMinimap_ = false;
    setTool(tool_);
}

void Canvas::mouseDoubleClickEvent(QMouseEvent* event) {
    if (!image_) return;
    if (annotating_.doubleClick(tool_)) return update();
    if (tool_ != Tool::Move) return;
    fitPending_ = false;
    transform_.zoom(2, event->position());
    changed();
}

void Canvas::wheelEvent(QWheelEvent* event) {
    if (!image_) return;
    fitPending_ = false;
    transform_.zoom(std::pow(2.0, event->angleDelta().y() / 240.0), event->position());
    changed();
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
