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

// Everything that the user may change without reading anything again: the look of the image (mode
// 0; 3 where it is shown as it is), class colours (1) and magnitudes through a colour map (2).
// Values that are missing are kMissing. Colours leave with premultiplied alpha; a layer that
// multiplies leaves white where it is clear.
constexpr const char* kFragmentShader = R"(#version 330 core
in vec2 uv;
uniform sampler2D picture;
uniform sampler2D colors;
uniform sampler3D profile;
uniform bool profiled;
uniform int mode;
uniform bool multiplies;
uniform float opacity;
uniform vec3 brightness, contrast, gamma;
uniform int stain;          // 0: all
uniform mat3 stainInverse;  // columns: weights of the optical density for each stain
uniform vec3 stainColor;    // its optical density
uniform float low, high, threshold;
uniform bool smoothly;
uniform int clipKind;
uniform vec4 clip;          // x, y, radius, height of the frame buffer
out vec4 color;
const float missing = -3e38;

vec3 look(vec3 c) {
    if (profiled) c = texture(profile, (c * 32.0 + 0.5) / 33.0).rgb;
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

bool clippedAway() {
    vec2 at = vec2(gl_FragCoord.x, clip.w - gl_FragCoord.y);
    if (clipKind == 1) return at.x >= clip.x;
    if (clipKind == 2) return at.x < clip.x;
    if (clipKind == 3) return distance(at, clip.xy) > clip.z;
    if (clipKind == 4) return distance(at, clip.xy) <= clip.z;
    return false;
}

void main() {
    if (clippedAway()) discard;
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
    vec3 c = texelFetch(colors, ivec2(entry, 0), 0).rgb;
    color = multiplies ? vec4(mix(vec3(1.0), c, opacity), 1.0) : vec4(c, 1.0) * opacity;
})";

enum Unit { kPicture = 0, kColors = 1, kProfile = 2 };

}  // namespace

QString QuadPainter::create() {
    initializeOpenGLFunctions();
    program_.addShaderFromSourceCode(QOpenGLShader::Vertex, kVertexShader);
    program_.addShaderFromSourceCode(QOpenGLShader::Fragment, kFragmentShader);
    if (!program_.link()) return program_.log();
    const float corners[] = {0, 0, 1, 0, 0, 1, 1, 1};
    vertexArray_.create();
    QOpenGLVertexArrayObject::Binder bind(&vertexArray_);
    corners_.create();
    corners_.bind();
    corners_.allocate(corners, sizeof corners);
    program_.enableAttributeArray(0);
    program_.setAttributeBuffer(0, GL_FLOAT, 0, 2);
    return {};
}

void QuadPainter::destroy() {
    vertexArray_.destroy();
    corners_.destroy();
}

void QuadPainter::begin(const ViewTransform& transform, double pixelRatio) {
    view_ = transform.viewSize();
    pixelRatio_ = pixelRatio;
    glEnable(GL_BLEND);
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    program_.bind();
    vertexArray_.bind();
    program_.setUniformValue("picture", static_cast<int>(kPicture));
    program_.setUniformValue("colors", static_cast<int>(kColors));
    program_.setUniformValue("profile", static_cast<int>(kProfile));
    program_.setUniformValue(
        "view", QVector2D(static_cast<float>(view_.width()), static_cast<float>(view_.height())));
    program_.setUniformValue("turn", QVector2D(static_cast<float>(transform.cosine()),
                                               static_cast<float>(transform.sine())));
    setClip({});
}

void QuadPainter::end() {
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    glActiveTexture(GL_TEXTURE0);
    vertexArray_.release();
    program_.release();
}

void QuadPainter::setClip(const Clip& clip) {
    program_.setUniformValue("clipKind", static_cast<int>(clip.kind));
    program_.setUniformValue("clip", QVector4D(static_cast<float>(clip.x * pixelRatio_),
                                               static_cast<float>(clip.y * pixelRatio_),
                                               static_cast<float>(clip.radius * pixelRatio_),
                                               static_cast<float>(view_.height() * pixelRatio_)));
}

void QuadPainter::setLook(const ImageLook& look, QOpenGLTexture* profile) {
    const auto three = [&](const char* name, const auto& of) {
        program_.setUniformValue(name, QVector3D(static_cast<float>(of(look.channels[0])),
                                                 static_cast<float>(of(look.channels[1])),
                                                 static_cast<float>(of(look.channels[2]))));
    };
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    program_.setUniformValue("multiplies", false);
    program_.setUniformValue("profiled", profile != nullptr);
    if (profile) {
        glActiveTexture(GL_TEXTURE0 + kProfile);
        profile->bind();
        glActiveTexture(GL_TEXTURE0);
    }
    program_.setUniformValue("mode", look.untouched() && !profile ? 3 : 0);
    three("brightness", [](const ChannelLook& c) { return c.brightness; });
    three("contrast", [](const ChannelLook& c) { return c.contrast; });
    three("gamma", [](const ChannelLook& c) { return c.gamma; });
    program_.setUniformValue("stain", static_cast<int>(look.stain));
    if (look.stain == Stain::All) return;
    const auto inverse = look.stains.inverse();
    QMatrix3x3 matrix;  // GLSL's columns are ours: the weights of one stain
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column)
            matrix(row, column) =
                static_cast<float>(inverse[static_cast<size_t>(row)][static_cast<size_t>(column)]);
    program_.setUniformValue("stainInverse", matrix);
    const auto& color = look.stains.vectors[static_cast<size_t>(look.stain) - 1];
    program_.setUniformValue("stainColor",
                             QVector3D(static_cast<float>(color[0]), static_cast<float>(color[1]),
                                       static_cast<float>(color[2])));
}

void QuadPainter::setLayer(const OverlayLayer& layer, QOpenGLTexture* colors) {
    const bool classes = layer.kind == OverlayLayer::Kind::Classes;
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
    program_.setUniformValue("multiplies", layer.blend == OverlayLayer::Blend::Multiply);
    program_.setUniformValue("mode", classes ? 1 : 2);
    program_.setUniformValue("low", static_cast<float>(layer.low));
    program_.setUniformValue(
        "high", static_cast<float>(layer.high > layer.low ? layer.high : layer.low + 1));
    program_.setUniformValue("threshold", static_cast<float>(layer.threshold));
    program_.setUniformValue("smoothly", layer.smooth && !classes);
}

void QuadPainter::draw(QOpenGLTexture* texture, const QRectF& place, const QRectF& part,
                       double opacity) {
    const auto four = [](const QRectF& r) {
        return QVector4D(static_cast<float>(r.x()), static_cast<float>(r.y()),
                         static_cast<float>(r.width()), static_cast<float>(r.height()));
    };
    program_.setUniformValue("place", four(place));
    program_.setUniformValue("part", four(part));
    program_.setUniformValue("opacity", static_cast<float>(opacity));
    texture->bind();
    glDrawArrays(GL_TRIANGLE_STRIP, 0, 4);
}

}  // namespace atlas::ui
