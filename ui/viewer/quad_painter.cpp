// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/quad_painter.h"

#include <QMatrix3x3>
#include <QVector2D>
#include <QVector3D>
#include <QVector4D>

namespace atlas::ui {
namespace {

constexpr const char* kVertexShader = R"(#version 330 core
layout(location = 0) in vec2 corner;
uniform vec4 place;   // x, y, w, h in view pixels, before the turn
uniform vec4 part;    // x, y, w, h in texture coordinates
uniform vec2 view;    // its size
uniform vec2 turn;    // cosine and sine
out vec2 uv;
void main() {
    uv = part.xy + corner * part.zw;
    vec2 p = place.xy + corner * place.zw - view * 0.5;
    p = vec2(p.x * turn.x - p.y * turn.y, p.x * turn.y + p.y * turn.x);
    gl_Position = vec4(p.x / view.x * 2.0, -p.y / view.y * 2.0, 0.0, 1.0);
})";

// Everything that the user may change without reading anything again. One program for each of: the
// image as it is (PLAIN) or with a look (LOOK), class colours (CLASSES), magnitudes through a
// colour map as blocks (BLOCKS) or between cells (SMOOTH): where OpenGL is software, a branch that
// is not taken costs as much as one that is. Values that are missing are kMissing. Colours leave
// with premultiplied alpha; a layer that multiplies leaves white where it is clear.
constexpr const char* kFragmentShader = R"(
in vec2 uv;
uniform sampler2D picture;
uniform float opacity;
out vec4 color;
#ifdef CLIPPED
uniform int clipKind;
uniform vec4 clip;          // x, y, radius, height of the frame buffer

bool clippedAway() {
    vec2 at = vec2(gl_FragCoord.x, clip.w - gl_FragCoord.y);
    if (clipKind == 1) return at.x >= clip.x;
    if (clipKind == 2) return at.x < clip.x;
    if (clipKind == 3) return distance(at, clip.xy) > clip.z;
    if (clipKind == 4) return distance(at, clip.xy) <= clip.z;
    return false;
}
#endif

#if defined(PLAIN) || defined(LOOK)
#ifdef LOOK
uniform sampler3D profile;
uniform bool profiled;
uniform vec3 brightness, contrast, gamma;
uniform int stain;          // 0: all
uniform mat3 stainInverse;  // columns: weights of the optical density for each stain
uniform vec3 stainColor;    // its optical density

vec3 look(vec3 c) {
    if (profiled) c = texture(profile, (c * 32.0 + 0.5) / 33.0).rgb;
    if (stain > 0) {
        float amount = max(dot(-log(max(c, vec3(1.0 / 255.0))), stainInverse[stain - 1]), 0.0);
        c = exp(-amount * abs(stainColor));
    }
    c = clamp((c - 0.5) * contrast + 0.5 + brightness, 0.0, 1.0);
    return pow(c, 1.0 / gamma);
}
#else
vec3 look(vec3 c) { return c; }
#endif

void main() {
#ifdef CLIPPED
    if (clippedAway()) discard;
#endif
    vec4 c = texture(picture, uv);
    color = vec4(look(c.rgb) * c.a, c.a) * opacity;
}
#else
uniform sampler2D colors;
uniform bool multiplies;
uniform float low, high, threshold;
const float missing = -3e38;

float value() {
    ivec2 size = textureSize(picture, 0);
    ivec2 cell = clamp(ivec2(uv * vec2(size)), ivec2(0), size - 1);
    float here = texelFetch(picture, cell, 0).r;
#ifdef SMOOTH
    if (here < missing) return here;
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
#else
    return here;
#endif
}

void main() {
#ifdef CLIPPED
    if (clippedAway()) discard;
#endif
    float v = value();
    if (v < missing) discard;
#ifdef CLASSES
    int entry = int(v + 0.5);
    if (entry >= textureSize(colors, 0).x) discard;
#else
    if (threshold > 0.0 && v < threshold) discard;
    int entry = int(clamp((v - low) / (high - low), 0.0, 1.0) * 255.0 + 0.5);
#endif
    vec3 c = texelFetch(colors, ivec2(entry, 0), 0).rgb;
    color = multiplies ? vec4(mix(vec3(1.0), c, opacity), 1.0) : vec4(c, 1.0) * opacity;
}
#endif
)";

constexpr const char* kVariants[] = {"PLAIN", "LOOK", "CLASSES", "BLOCKS", "SMOOTH"};

enum Unit { kPicture = 0, kColors = 1, kProfile = 2 };

}  // namespace

QString QuadPainter::create() {
    initializeOpenGLFunctions();
    const float corners[] = {0, 0, 1, 0, 0, 1, 1, 1};
    vertexArray_.create();
    QOpenGLVertexArrayObject::Binder bind(&vertexArray_);
    corners_.create();
    corners_.bind();
    corners_.allocate(corners, sizeof corners);
    program_ = programFor(Variant::Plain);
    if (!program_) return error_;
    program_->enableAttributeArray(0);
    program_->setAttributeBuffer(0, GL_FLOAT, 0, 2);
    return {};
}

void QuadPainter::destroy() {
    for (auto& program : programs_) program.reset();
    vertexArray_.destroy();
    corners_.destroy();
}

/// Made at its first use; null where it cannot be.
QOpenGLShaderProgram* QuadPainter::programFor(Variant variant) {
    const auto number = static_cast<size_t>(variant);
    auto& program = programs_[2 * number + (clip_.kind == Clip::Kind::None ? 0 : 1)];
    if (program) return program->isLinked() ? program.get() : nullptr;
    program = std::make_unique<QOpenGLShaderProgram>();
    const QByteArray head = QByteArray("#version 330 core\n#define ") + kVariants[number] + "\n" +
                            (clip_.kind == Clip::Kind::None ? "" : "#define CLIPPED\n");
    program->addShaderFromSourceCode(QOpenGLShader::Vertex, kVertexShader);
    program->addShaderFromSourceCode(QOpenGLShader::Fragment, head + kFragmentShader);
    if (program->link()) return program.get();
    error_ = program->log();
    return nullptr;
}

void QuadPainter::begin(const ViewTransform& transform, double pixelRatio) {
    view_ = transform.viewSize();
    turn_ = {transform.cosine(), transform.sine()};
    pixelRatio_ = pixelRatio;
    glEnable(GL_BLEND);
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    vertexArray_.bind();
    clip_ = {};
}

void QuadPainter::end() {
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    glActiveTexture(GL_TEXTURE0);
    vertexArray_.release();
    if (program_) program_->release();
}

void QuadPainter::setClip(const Clip& clip) {
    clip_ = clip;
}

/// The program of the following quads, with what all have in common.
bool QuadPainter::use(Variant variant) {
    program_ = programFor(variant);
    if (!program_ || !program_->bind()) return false;
    program_->setUniformValue("picture", static_cast<int>(kPicture));
    program_->setUniformValue(
        "view", QVector2D(static_cast<float>(view_.width()), static_cast<float>(view_.height())));
    program_->setUniformValue(
        "turn", QVector2D(static_cast<float>(turn_.x()), static_cast<float>(turn_.y())));
    if (clip_.kind == Clip::Kind::None) return true;
    program_->setUniformValue("clipKind", static_cast<int>(clip_.kind));
    program_->setUniformValue("clip", QVector4D(static_cast<float>(clip_.x * pixelRatio_),
                                                static_cast<float>(clip_.y * pixelRatio_),
                                                static_cast<float>(clip_.radius * pixelRatio_),
                                                static_cast<float>(view_.height() * pixelRatio_)));
    return true;
}

void QuadPainter::setLook(const ImageLook& look, GlTexture* profile) {
    const auto three = [&](const char* name, const auto& of) {
        program_->setUniformValue(name, QVector3D(static_cast<float>(of(look.channels[0])),
                                                  static_cast<float>(of(look.channels[1])),
                                                  static_cast<float>(of(look.channels[2]))));
    };
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    const bool plain = look.untouched() && !profile;
    if (!use(plain ? Variant::Plain : Variant::Look) || plain) return;
    program_->setUniformValue("profile", static_cast<int>(kProfile));
    program_->setUniformValue("profiled", profile != nullptr);
    if (profile) {
        glActiveTexture(GL_TEXTURE0 + kProfile);
        profile->bind();
        glActiveTexture(GL_TEXTURE0);
    }
    three("brightness", [](const ChannelLook& c) { return c.brightness; });
    three("contrast", [](const ChannelLook& c) { return c.contrast; });
    three("gamma", [](const ChannelLook& c) { return c.gamma; });
    program_->setUniformValue("stain", static_cast<int>(look.stain));
    if (look.stain == Stain::All) return;
    const auto inverse = look.stains.inverse();
    QMatrix3x3 matrix;  // GLSL's columns are ours: the weights of one stain
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column)
            matrix(row, column) =
                static_cast<float>(inverse[static_cast<size_t>(row)][static_cast<size_t>(column)]);
    program_->setUniformValue("stainInverse", matrix);
    const auto& color = look.stains.vectors[static_cast<size_t>(look.stain) - 1];
    program_->setUniformValue("stainColor",
                              QVector3D(static_cast<float>(color[0]), static_cast<float>(color[1]),
                                        static_cast<float>(color[2])));
}

void QuadPainter::setLayer(const OverlayLayer& layer, GlTexture* colors) {
    const bool classes = layer.kind == OverlayLayer::Kind::Classes;
    if (!use(classes ? Variant::Classes : layer.smooth ? Variant::Smooth : Variant::Blocks)) return;
    glActiveTexture(GL_TEXTURE0 + kColors);
    colors->bind();
    glActiveTexture(GL_TEXTURE0);
    switch (layer.blend) {
        case OverlayLayer::Blend::Normal:
            glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
            break;
        case OverlayLayer::Blend::Multiply:
            glBlendFunc(GL_DST_COLOR, GL_ZERO);
            break;
        case OverlayLayer::Blend::Add:
            glBlendFunc(GL_ONE, GL_ONE);
            break;
    }
    program_->setUniformValue("colors", static_cast<int>(kColors));
    program_->setUniformValue("multiplies", layer.blend == OverlayLayer::Blend::Multiply);
    if (classes) return;
    program_->setUniformValue("low", static_cast<float>(layer.low));
    program_->setUniformValue(
        "high", static_cast<float>(layer.high > layer.low ? layer.high : layer.low + 1));
    program_->setUniformValue("threshold", static_cast<float>(layer.threshold));
}

void QuadPainter::draw(GlTexture* texture, const QRectF& place, const QRectF& part,
                       double opacity) {
    const auto four = [](const QRectF& r) {
        return QVector4D(static_cast<float>(r.x()), static_cast<float>(r.y()),
                         static_cast<float>(r.width()), static_cast<float>(r.height()));
    };
    if (!program_) return;
    program_->setUniformValue("place", four(place));
    program_->setUniformValue("part", four(part));
    program_->setUniformValue("opacity", static_cast<float>(opacity));
    texture->bind();
    glDrawArrays(GL_TRIANGLE_STRIP, 0, 4);
}

}  // namespace atlas::ui
