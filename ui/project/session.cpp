// SPDX-License-Identifier: Apache-2.0
#include "ui/project/session.h"

#include <QDir>
#include <QFile>
#include <QUuid>
#include <exception>

#include "ui/project/json_file.h"

namespace atlas::ui {
namespace {
constexpr const char* kLast = "last-session.json";
}

Session::Session(const QString& folder)
    : folder_(folder), key_(QUuid::createUuid().toString(QUuid::Id128).left(12)) {
    if (folder_.isEmpty()) return;
    QDir().mkpath(folder_);
    lock_ = std::make_unique<QLockFile>(file(key_) + ".lock");
    lock_->setStaleLockTime(0);
    lock_->tryLock(0);
}

Session::~Session() {
    if (lock_) lock_->unlock();
}

QString Session::file(const QString& key) const {
    return QDir(folder_).filePath("session-" + key + ".json");
}

QJsonObject Session::takeCrashed() {
    if (folder_.isEmpty()) return {};
    const QDir dir(folder_);
    QJsonObject found;
    for (const auto& name : dir.entryList({"session-*.json"}, QDir::Files, QDir::Time)) {
        const QString path = dir.filePath(name);
        if (path == file(key_)) continue;
        QLockFile lock(path + ".lock");
        lock.setStaleLockTime(0);
        // A lock that can be taken belongs to nobody alive.
        if (!lock.tryLock(0)) {
            if (!lock.removeStaleLockFile() || !lock.tryLock(0)) continue;
        }
        try {
            if (found.isEmpty()) found = readJson(path);
        } catch (const std::exception&) {
            // unreadable: of no use to anybody
        }
        QFile::remove(path);
        lock.unlock();
        QFile::remove(path + ".lock");
    }
    return found;
}

QJsonObject Session::last() const {
    if (folder_.isEmpty()) return {};
    try {
        return readJson(QDir(folder_).filePath(kLast));
    } catch (const std::exception&) {
        return {};
    }
}

void Session::keep(const QJsonObject& state) {
    if (folder_.isEmpty() || state == kept_ || state.isEmpty()) return;
    try {
        writeJson(file(key_), state);
        kept_ = state;
    } catch (const std::exception&) {
        // tried again with the next change
    }
}

void Session::end() {
    if (folder_.isEmpty()) return;
    if (!kept_.isEmpty()) {
        try {
            writeJson(QDir(folder_).filePath(kLast), kept_);
        } catch (const std::exception&) {
            // the window closes all the same
        }
    }
    QFile::remove(file(key_));
}

}  // namespace atlas::ui
