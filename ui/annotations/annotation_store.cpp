// SPDX-License-Identifier: Apache-2.0
#include "ui/annotations/annotation_store.h"

#include <QDateTime>
#include <QFile>
#include <QUndoCommand>
#include <algorithm>

namespace atlas::ui {
namespace {
const QColor kUnclassified(255, 210, 60);
constexpr int kUndoSteps = 200;
}  // namespace

/// The whole set before and after: vectors of annotations share their points, so that this is
/// cheap until there are very many.
class AnnotationStore::Change : public QUndoCommand {
  public:
    Change(AnnotationStore& store, const QString& text, AnnotationSet after)
        : QUndoCommand(text), store_(store), before_(store.set_), after_(std::move(after)) {}
    void undo() override { store_.apply(before_); }
    void redo() override { store_.apply(after_); }

  private:
    AnnotationStore& store_;
    AnnotationSet before_, after_;
};

AnnotationStore::AnnotationStore(QObject* parent) : QObject(parent) {
    undo_.setUndoLimit(kUndoSteps);
}

void AnnotationStore::open(const QString& path) {
    close();
    path_ = path;
    if (QFile::exists(path)) try {
            set_ = loadAnnotations(path);
        } catch (const std::exception& error) {
            const QString kept =
                path + ".broken-" + QDateTime::currentDateTime().toString("yyyyMMdd-hhmmss");
            QFile::rename(path, kept);
            Q_EMIT problem(tr("%1. The file was kept as %2; annotations begin anew.")
                               .arg(QString::fromUtf8(error.what()), kept));
        }
    Q_EMIT changed();
}

void AnnotationStore::close() {
    undo_.clear();
    set_ = {};
    path_.clear();
    selected_ = {};
    Q_EMIT changed();
    Q_EMIT selectionChanged();
}

const Annotation* AnnotationStore::find(const QUuid& id) const {
    const auto found = std::find_if(set_.annotations.begin(), set_.annotations.end(),
                                    [&](const Annotation& a) { return a.id == id; });
    return found == set_.annotations.end() ? nullptr : &*found;
}

QColor AnnotationStore::colorOf(const Annotation& annotation) const {
    return set_.classColors.value(annotation.className, kUnclassified);
}

void AnnotationStore::push(const QString& text, AnnotationSet after) {
    undo_.push(new Change(*this, text, std::move(after)));
}

void AnnotationStore::apply(const AnnotationSet& set) {
    set_ = set;
    if (!selected_.isNull() && !find(selected_)) select({});
    save();
    Q_EMIT changed();
}

void AnnotationStore::save() {
    if (path_.isEmpty()) return;
    try {
        saveAnnotations(path_, set_);
    } catch (const std::exception& error) {
        Q_EMIT problem(QString::fromUtf8(error.what()));
    }
}

void AnnotationStore::add(const Annotation& annotation) {
    if (!annotation.complete()) return;
    AnnotationSet after = set_;
    after.annotations.push_back(annotation);
    push(tr("draw a %1").arg(shapeName(annotation.shape)), std::move(after));
    select(annotation.id);
}

void AnnotationStore::addAll(const AnnotationSet& set) {
    AnnotationSet after = set_;
    for (auto annotation : set.annotations) {
        if (find(annotation.id)) annotation.id = QUuid::createUuid();
        after.annotations.push_back(annotation);
    }
    for (auto it = set.classColors.begin(); it != set.classColors.end(); ++it)
        if (!after.classColors.contains(it.key())) after.classColors[it.key()] = it.value();
    push(tr("import annotations"), std::move(after));
}

void AnnotationStore::replace(const Annotation& annotation) {
    const Annotation* now = find(annotation.id);
    if (!now || *now == annotation || !annotation.complete()) return;
    AnnotationSet after = set_;
    after.annotations[static_cast<size_t>(now - set_.annotations.data())] = annotation;
    push(tr("change an annotation"), std::move(after));
}

void AnnotationStore::remove(const QUuid& id) {
    if (!find(id)) return;
    AnnotationSet after = set_;
    std::erase_if(after.annotations, [&](const Annotation& a) { return a.id == id; });
    push(tr("delete an annotation"), std::move(after));
}

void AnnotationStore::setClass(const QString& name, const QColor& color) {
    if (name.isEmpty() || set_.classColors.value(name) == color) return;
    AnnotationSet after = set_;
    after.classColors[name] = color;
    push(tr("set the class %1").arg(name), std::move(after));
}

void AnnotationStore::select(const QUuid& id) {
    if (id == selected_) return;
    selected_ = id;
    Q_EMIT selectionChanged();
}

QUuid AnnotationStore::at(const QPointF& point, double reach) const {
    for (auto it = set_.annotations.rbegin(); it != set_.annotations.rend(); ++it)
        if (it->hit(point, reach)) return it->id;
    return {};
}

}  // namespace atlas::ui
