// SPDX-License-Identifier: Apache-2.0
// What was open, on disk at any moment, so that a crash loses nothing: the next start finds the
// session of a window that did not end in order. GUI thread.
#pragma once

#include <QJsonObject>
#include <QLockFile>
#include <memory>

namespace atlas::ui {

class Session {
  public:
    /// `folder`: where session files lie; each window has one of its own.
    explicit Session(const QString& folder);
    ~Session();

    /// The newest session whose window is gone without having ended; taken over, so that it is
    /// found once. Empty if there is none.
    QJsonObject takeCrashed();
    /// The session of the window that ended last in order; empty if there is none.
    QJsonObject last() const;
    /// Writes where it has changed; never throws (a full disk costs the session, not the work).
    void keep(const QJsonObject& state);
    /// The window ends in order.
    void end();

  private:
    QString file(const QString& key) const;

    QString folder_, key_;
    std::unique_ptr<QLockFile> lock_;
    QJsonObject kept_;
};

}  // namespace atlas::ui
