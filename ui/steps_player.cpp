// SPDX-License-Identifier: Apache-2.0
#include "ui/steps_player.h"

#include <QApplication>
#include <QDialog>
#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonDocument>
#include <QKeyEvent>
#include <QMenu>
#include <QMouseEvent>
#include <QPainter>
#include <QTabWidget>
#include <QWheelEvent>
#include <cmath>
#include <stdexcept>

namespace atlas::ui {
namespace {

constexpr int kTickMs = 20;
constexpr int kLayoutPasses = 4;
constexpr int kSettleMs = 120;          // at least so long after a step, for the window to answer
constexpr qint64 kTimeoutMs = 600'000;  // of one step

QJsonValue lookUp(const QJsonObject& values, const QString& name) {
    QJsonValue value = values;
    for (const auto& part : name.split('/')) value = value.toObject().value(part);
    return value;
}

/// The window with what OpenGL drew in it.
QImage pictureOf(MainWindow* window) {
    QImage picture = window->grab().toImage();
    for (auto* canvas : window->findChildren<Canvas*>()) {
        if (!canvas->isVisible()) continue;
        QPainter painter(&picture);
        painter.drawImage(QRect(canvas->mapTo(window, QPoint(0, 0)), canvas->size()),
                          canvas->grabFramebuffer());
    }
    for (auto* dialog : window->findChildren<QDialog*>()) {
        if (!dialog->isVisible()) continue;
        QPainter painter(&picture);
        painter.drawPixmap(dialog->pos() - window->pos(), dialog->grab());
    }
    return picture;
}

}  // namespace

StepsPlayer::StepsPlayer(MainWindow* window, const QString& file)
    : QObject(window), window_(window), folder_(QFileInfo(file).absolutePath()) {
    QFile text(file);
    if (!text.open(QIODevice::ReadOnly))
        throw std::runtime_error(file.toStdString() + ": cannot be opened");
    QJsonParseError error;
    const auto document = QJsonDocument::fromJson(text.readAll(), &error);
    if (!document.isArray())
        throw std::runtime_error(file.toStdString() + ": is no list of steps (" +
                                 error.errorString().toStdString() + ")");
    steps_ = document.array();
    connect(&timer_, &QTimer::timeout, this, &StepsPlayer::tick);
}

void StepsPlayer::start() {
    since_.start();
    timer_.start(kTickMs);
}

QString StepsPlayer::resolved(const QString& path) const {
    if (path.startsWith("synthetic:") || QFileInfo(path).isAbsolute()) return path;
    return QDir(folder_).absoluteFilePath(path);
}

void StepsPlayer::fail(const QString& why) {
    errors_ << QString("step %1 (%2): %3").arg(index_ + 1).arg(verb_, why);
}

bool StepsPlayer::waitingDone(const QString& verb) const {
    if (window_->loading()) return false;
    if (verb == "open") return window_->canvas()->settled();
    if (verb == "run" || verb == "folderRun")
        return !window_->runs()->busy() && window_->canvas()->settled();
    if (verb == "probe" || verb == "whatIf" || verb == "contributions" || verb == "faithfulness" ||
        verb == "flow" || verb == "saliency")
        return !window_->probing();
    if (verb == "screenshot" || verb == "quit" || verb == "expect" || verb == "start") return true;
    if (verb == "tab" && window_->findChild<Gallery*>()->loading()) return false;
    return window_->canvas()->settled() && !window_->views()->opening() &&
           window_->views()->grid()->settled();
}

void StepsPlayer::tick() {
    if (index_ >= 0) {
        if (since_.elapsed() < kSettleMs) return;
        if (!waitingDone(verb_)) {
            if (since_.elapsed() < kTimeoutMs) return;
            fail("did not finish in time");
        }
    }
    ++index_;
    since_.restart();
    if (index_ >= steps_.size()) {
        timer_.stop();
        Q_EMIT finished(good());
        return;
    }
    const QJsonObject step = steps_.at(index_).toObject();
    if (step.size() != 1) {
        fail("a step is an object with one key, its verb");
        return;
    }
    verb_ = step.keys().first();
    timer_.stop();  // a step may open an event loop of its own
    if (!begin(verb_, step.value(verb_))) fail("is not known, or lacks what it needs");
    timer_.start(kTickMs);
}

bool StepsPlayer::begin(const QString& verb, const QJsonValue& value) {
    const QJsonObject object = value.toObject();
    if (verb == "open") {
        const QString path = resolved(value.toString());
        QFileInfo(path).isDir() ? window_->openFolder(path) : window_->openImage(path);
    } else if (verb == "goTo") {
        window_->canvas()->goTo(
            {object.value("x").toDouble(), object.value("y").toDouble()},
            object.value("scale").toDouble(window_->canvas()->transform().scale()));
    } else if (verb == "run" || verb == "start") {
        if (object.contains("model") &&
            !window_->runPanel()->chooseModel(object.value("model").toString()))
            return false;
        const auto set = [&](const char* control, const char* property, const QJsonValue& to) {
            if (!to.isUndefined())
                window_->findChild<QWidget*>(control)->setProperty(property, to.toVariant());
        };
        set("run.resolution", "text", object.value("resolution"));
        set("run.overlap", "value", object.value("overlap"));
        set("run.mask", "checked", object.value("mask"));
        set("run.context", "currentIndex",
            object.value("context").toString() == "whole" ? QJsonValue(1) : QJsonValue(0));
        set("run.area", "currentIndex", object.value("area"));
        if (object.contains("region")) {
            const auto r = object.value("region").toArray();
            window_->canvas()->setRegion(
                {r.at(0).toDouble(), r.at(1).toDouble(), r.at(2).toDouble(), r.at(3).toDouble()});
            window_->runPanel()->setArea(RunPanel::Area::Rectangle);
        }
        window_->startRun();
    } else if (verb == "folderRun") {
        window_->queueImages(window_->findChild<ImagesPanel*>("images.panel")->images());
    } else if (verb == "layer") {
        return window_->setLayer(object.value("id").toString(), object);
    } else if (verb == "rotate") {
        window_->views()->rotateTo(value.toDouble());
    } else if (verb == "views") {
        showViews(object);
    } else if (verb == "compare") {
        const QStringList modes{"off", "swipe", "lens"};
        const auto mode = modes.indexOf(object.value("mode").toString());
        if (mode < 0) return false;
        const QString image = object.value("image").toString();
        if (object.contains("layer")) window_->setLayer(object.value("layer").toString(), {});
        window_->views()->compare(static_cast<CompareMode>(mode),
                                  image.isEmpty() ? image : resolved(image));
        window_->canvas()->setSwipe(object.value("at").toDouble(0.5));
        if (object.contains("x"))
            window_->canvas()->setLens(window_->canvas()->transform().viewFromImage(
                QPointF(object.value("x").toDouble(), object.value("y").toDouble())));
    } else if (verb == "tab") {
        auto* tabs = window_->findChild<QTabWidget*>(object.value("of").toString());
        if (!tabs) return false;
        tabs->setCurrentIndex(object.value("page").toInt());
    } else if (verb == "bookmark") {
        window_->views()->addBookmark(value.toString());
    } else if (verb == "saveView") {
        return window_->saveView(resolved(value.toString()));
    } else if (verb == "scale") {
        window_->setScale(value.toInt());
    } else if (verb == "probe") {
        window_->probe({object.value("x").toDouble(), object.value("y").toDouble()},
                       object.value("second").toBool());
    } else if (verb == "whatIf") {
        engine::WhatIf change;
        const QString what = object.value("change").toString();
        if (what == "scaleOff")
            change.change = engine::WhatIf::Change::ScaleOff;
        else if (what == "mask")
            change.change = engine::WhatIf::Change::MaskTokens;
        else if (what != "blur")
            return false;
        change.scale = object.value("scale").toInt();
        const auto r = object.value("region").toArray();
        change.region = {r.at(0).toInt(), r.at(1).toInt(), r.at(2).toInt(), r.at(3).toInt()};
        window_->whatIf(change);
    } else if (verb == "annotate") {
        const QJsonArray several = value.isArray() ? value.toArray() : QJsonArray{value};
        for (const auto& item : several)
            if (!annotate(item.toObject())) return false;
    } else if (verb == "flow") {
        if (object.contains("depth"))
            window_->showFlow(object.value("depth").toInt());
        else
            window_->flow();
    } else if (verb == "saliency") {
        const QStringList kinds{"occlusion", "inputGradient", "gradCam"};
        const auto kind = kinds.indexOf(value.toString());
        if (kind < 0) return false;
        window_->saliency(static_cast<engine::Saliency>(kind));
    } else if (verb == "contributions") {
        window_->contributions();
    } else if (verb == "faithfulness") {
        engine::FaithfulnessOptions options;
        options.contexts = object.value("contexts").toInt(options.contexts);
        options.randomOrders = object.value("randomOrders").toInt(options.randomOrders);
        window_->faithfulness(options);
    } else if (verb == "click" || verb == "hover" || verb == "drag" || verb == "wheel") {
        return mouse(verb, object);
    } else if (verb == "key") {
        const QKeySequence keys(value.toString());
        if (keys.isEmpty()) return false;
        for (auto* action : window_->findChildren<QAction*>())
            if (action->shortcut() == keys) {
                action->trigger();
                return true;
            }
        const auto combination = keys[0];
        QKeyEvent press(QEvent::KeyPress, combination.key(), combination.keyboardModifiers());
        QApplication::sendEvent(window_, &press);
    } else if (verb == "compareRuns") {  // with the newest of the others
        auto* others = window_->findChild<QMenu*>("run.compareMenu");
        if (!others || others->isEmpty()) return false;
        others->actions().first()->trigger();
    } else if (verb == "action") {
        auto* action = window_->actionNamed(value.toString());
        if (!action) return false;
        action->trigger();
    } else if (verb == "resize") {
        window_->resize(object.value("width").toInt(), object.value("height").toInt());
    } else if (verb == "theme") {
        window_->setTheme(value.toString());
    } else if (verb == "expect") {
        expect(object);
    } else if (verb == "screenshot") {
        // Panels that have just been filled find their sizes first.
        for (int i = 0; i < kLayoutPasses; ++i)
            QApplication::sendPostedEvents(nullptr, QEvent::LayoutRequest);
        const QString path = resolved(value.toString());
        QDir().mkpath(QFileInfo(path).absolutePath());
        if (!pictureOf(window_).save(path)) fail(path + " cannot be written");
    } else if (verb == "quit") {
        steps_ = QJsonArray();
    } else {
        return false;
    }
    return true;
}

/// {count, sides: [{image, layer} ...]}
void StepsPlayer::showViews(const QJsonObject& what) {
    auto* views = window_->views();
    views->setCount(what.value("count").toInt(1));
    const QJsonArray wanted = what.value("sides").toArray();
    const auto& sides = views->grid()->sides();
    for (qsizetype i = 0; i < wanted.size() && i < static_cast<qsizetype>(sides.size()); ++i) {
        const QJsonObject side = wanted.at(i).toObject();
        if (side.contains("image"))
            views->openInSide(sides[static_cast<size_t>(i)],
                              resolved(side.value("image").toString()));
        sides[static_cast<size_t>(i)]->chooseLayer(side.value("layer").toString());
    }
}

/// {shape, points: [[x, y] ...], class, name}: one annotation, drawn by no mouse.
bool StepsPlayer::annotate(const QJsonObject& what) {
    const QStringList shapes{"rectangle", "polygon", "ellipse", "line", "point"};
    const auto shape = shapes.indexOf(what.value("shape").toString("polygon"));
    if (shape < 0) return false;
    Annotation a;
    a.shape = static_cast<Annotation::Shape>(shape);
    for (const auto& p : what.value("points").toArray())
        a.points << QPointF(p.toArray().at(0).toDouble(), p.toArray().at(1).toDouble());
    a.className = what.value("class").toString();
    a.name = what.value("name").toString();
    if (!a.complete()) return false;
    auto* store = window_->annotations();
    if (!a.className.isEmpty() && !store->set().classColors.contains(a.className))
        store->setClass(a.className,
                        QColor(what.value("color").toString("#e69f00")));  // Okabe-Ito orange
    store->add(a);
    return true;
}

bool StepsPlayer::mouse(const QString& verb, const QJsonObject& at) {
    auto* canvas = window_->canvas();
    const auto viewPoint = [&](const char* x, const char* y) {
        return canvas->transform().viewFromImage(
            QPointF(at.value(x).toDouble(), at.value(y).toDouble()));
    };
    const auto send = [&](QEvent::Type type, const QPointF& p, Qt::MouseButtons buttons) {
        QMouseEvent event(type, p, canvas->mapToGlobal(p),
                          type == QEvent::MouseMove ? Qt::NoButton : Qt::LeftButton, buttons,
                          Qt::NoModifier);
        QApplication::sendEvent(canvas, &event);
    };
    const QPointF from = viewPoint("x", "y");
    if (verb == "wheel") {
        QWheelEvent event(from, canvas->mapToGlobal(from), {}, {0, at.value("delta").toInt(120)},
                          Qt::NoButton, Qt::NoModifier, Qt::NoScrollPhase, false);
        QApplication::sendEvent(canvas, &event);
        return true;
    }
    send(QEvent::MouseMove, from, Qt::NoButton);
    if (verb == "hover") return true;
    const QPointF to = verb == "drag" ? viewPoint("toX", "toY") : from;
    send(QEvent::MouseButtonPress, from, Qt::LeftButton);
    if (verb == "drag") send(QEvent::MouseMove, to, Qt::LeftButton);
    send(QEvent::MouseButtonRelease, to, Qt::NoButton);
    return true;
}

void StepsPlayer::expect(const QJsonObject& what) {
    const QString name = what.value("value").toString();
    const QJsonValue now = lookUp(window_->values(), name);
    const auto text = [](const QJsonValue& v) { return v.toVariant().toString(); };
    if (now.isUndefined()) return fail(name + " is not there");
    if (what.contains("equals")) {
        const QJsonValue wanted = what.value("equals");
        const bool same = wanted.isDouble() ? std::abs(now.toDouble(1e300) - wanted.toDouble()) <=
                                                  what.value("tolerance").toDouble(0)
                                            : now == wanted;
        if (!same) fail(name + " is " + text(now) + ", not " + text(wanted));
    }
    if (what.contains("contains") && !text(now).contains(what.value("contains").toString()))
        fail(name + " is \"" + text(now) + "\", without \"" + what.value("contains").toString() +
             "\"");
    if (what.contains("min") && now.toDouble(-1e300) < what.value("min").toDouble())
        fail(name + " is " + text(now) + ", too small");
    if (what.contains("max") && now.toDouble(1e300) > what.value("max").toDouble())
        fail(name + " is " + text(now) + ", too large");
}

}  // namespace atlas::ui
