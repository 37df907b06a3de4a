// SPDX-License-Identifier: Apache-2.0
#include "ui/background.h"

#include <algorithm>

namespace atlas::ui {

Background::Background(QObject* parent) : QObject(parent) {}

Background::~Background() {
    end();
}

int Background::start(const char* name, const QString& words, Work work, Failed failed) {
    const int number = ++last_;
    auto& task = tasks_[number];
    task.words = words;
    task.failed = std::move(failed);
    task.thread = std::jthread([this, number, name = QString(name), watch = watch_,
                                work = std::move(work)](const std::stop_token& stop) {
        Then then;
        bool good = false;
        QString error;
        try {
            if (watch) watch(name);
            then = work(stop);
            good = true;
            if (watch) watch(name + ".done");
        } catch (const std::exception& cause) {
            error = QString::fromUtf8(cause.what());
        } catch (...) {
            error = tr("an unknown error");
        }
        QMetaObject::invokeMethod(
            this, [this, number, then, good, error] { finish(number, then, good, error); },
            Qt::QueuedConnection);
    });
    Q_EMIT changed();
    return number;
}

void Background::finish(int number, const Then& then, bool good, const QString& error) {
    const auto found = tasks_.find(number);
    if (found == tasks_.end()) return;
    Task task = std::move(found->second);
    tasks_.erase(found);
    task.thread.join();  // it has nothing left to do
    if (task.wanted) {
        try {
            if (good && then) then();
            if (!good && task.failed) task.failed(error);
        } catch (const std::exception& cause) {
            Q_EMIT problem(QString::fromUtf8(cause.what()));
        }
    }
    Q_EMIT changed();
}

void Background::forget(int number) {
    const auto found = tasks_.find(number);
    if (found == tasks_.end() || !found->second.wanted) return;
    found->second.wanted = false;
    found->second.thread.request_stop();
    Q_EMIT changed();
}

void Background::forgetAll() {
    for (auto& [number, task] : tasks_) {
        task.wanted = false;
        task.thread.request_stop();
    }
    Q_EMIT changed();
}

void Background::end() {
    for (auto& [number, task] : tasks_) task.thread.request_stop();
    tasks_.clear();  // joins
}

bool Background::wanted(int number) const {
    const auto found = tasks_.find(number);
    return found != tasks_.end() && found->second.wanted;
}

bool Background::busy() const {
    return std::any_of(tasks_.begin(), tasks_.end(),
                       [](const auto& entry) { return entry.second.wanted; });
}

QString Background::words() const {
    for (auto task = tasks_.rbegin(); task != tasks_.rend(); ++task)
        if (task->second.wanted && !task->second.words.isEmpty()) return task->second.words;
    return {};
}

}  // namespace atlas::ui
