// SPDX-License-Identifier: Apache-2.0
// Plays a steps file through the window's own actions. See README, "Steps".
#pragma once

#include <QElapsedTimer>
#include <QJsonArray>
#include <QObject>
#include <QTimer>

#include "ui/main_window/main_window.h"

namespace atlas::ui {

class StepsPlayer : public QObject {
    Q_OBJECT

  public:
    /// Paths in the steps are relative to the file's folder. Throws std::runtime_error for a file
    /// that is no list of steps.
    StepsPlayer(MainWindow* window, const QString& file);

    void start();
    /// Every step so far held.
    bool good() const { return errors_.isEmpty(); }
    QStringList errors() const { return errors_; }

  Q_SIGNALS:
    void finished(bool good);

  private:
    void tick();
    bool begin(const QString& verb, const QJsonValue& value);
    bool waitingDone(const QString& verb) const;
    void expect(const QJsonObject& what);
    void showViews(const QJsonObject& what);
    bool annotate(const QJsonObject& what);
    bool mouse(const QString& verb, const QJsonObject& at);
    void fail(const QString& why);
    QString resolved(const QString& path) const;

    MainWindow* window_;
    QString folder_;
    QJsonArray steps_;
    int index_ = -1;
    QString verb_;
    QTimer timer_;
    QElapsedTimer since_;
    QStringList errors_;
};

}  // namespace atlas::ui
