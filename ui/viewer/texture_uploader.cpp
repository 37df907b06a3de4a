// SPDX-License-Identifier: Apache-2.0
#include "ui/viewer/texture_uploader.h"

#include <QOpenGLFunctions>

namespace atlas::ui {

TextureUploader::TextureUploader(QObject* parent) : QObject(parent) {
    thread_.setObjectName("texture uploader");
}

TextureUploader::~TextureUploader() {
    stop();
}

void TextureUploader::start(QOpenGLContext* share) {
    stop();
    if (!share || !QOpenGLContext::supportsThreadedOpenGL()) return;
    auto* context = new QOpenGLContext;
    context->setFormat(share->format());
    context->setShareContext(share);
    surface_ = std::make_unique<QOffscreenSurface>();
    surface_->setFormat(share->format());
    surface_->create();
    if (!context->create() || !context->shareContext() || !surface_->isValid()) {
        delete context;
        surface_.reset();
        return;
    }
    context_ = context;
    worker_ = new QObject;
    context_->moveToThread(&thread_);
    worker_->moveToThread(&thread_);
    thread_.start();
}

void TextureUploader::stop() {
    ++generation_;
    if (!worker_) return;
    QMetaObject::invokeMethod(
        worker_,
        [this] {
            const std::lock_guard lock(mutex_);
            if (!waiting_.empty() && context_->makeCurrent(surface_.get()))
                for (GLuint texture : waiting_)
                    context_->functions()->glDeleteTextures(1, &texture);
            waiting_.clear();
            context_->doneCurrent();
            delete context_;
        },
        Qt::BlockingQueuedConnection);
    thread_.quit();
    thread_.wait();
    delete worker_;  // its thread has ended
    worker_ = nullptr;
    context_ = nullptr;
    surface_.reset();
}

void TextureUploader::upload(const io::TilePtr& tile, std::function<void(unsigned)> done) {
    QMetaObject::invokeMethod(
        worker_, [this, tile, done = std::move(done), generation = generation_] {
            GLuint texture = 0;
            if (context_->makeCurrent(surface_.get())) {
                auto* gl = context_->functions();
                gl->glGenTextures(1, &texture);
                gl->glBindTexture(GL_TEXTURE_2D, texture);
                for (const auto& [name, value] : {std::pair{GL_TEXTURE_MIN_FILTER, GL_LINEAR},
                                                  {GL_TEXTURE_MAG_FILTER, GL_LINEAR},
                                                  {GL_TEXTURE_WRAP_S, GL_CLAMP_TO_EDGE},
                                                  {GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE}})
                    gl->glTexParameteri(GL_TEXTURE_2D, static_cast<GLenum>(name), value);
                gl->glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, tile->width, tile->height, 0, GL_RGBA,
                                 GL_UNSIGNED_BYTE, tile->rgba.data());
                gl->glFinish();  // whole before another context draws it
                const std::lock_guard lock(mutex_);
                waiting_.insert(texture);
            }
            QMetaObject::invokeMethod(
                this,
                [this, texture, done, generation] {
                    if (generation != generation_) return;  // stop() has deleted it
                    {
                        const std::lock_guard lock(mutex_);
                        waiting_.erase(texture);
                    }
                    done(texture);
                },
                Qt::QueuedConnection);
        });
}

}  // namespace atlas::ui
