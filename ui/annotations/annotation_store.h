// SPDX-License-Identifier: Apache-2.0
// The annotations of the open image: every change can be undone and is on disk before the next
// event is handled. GUI thread.
#pragma once

#include <QObject>
#include <QUndoStack>
#include <functional>

#include "ui/annotations/annotation_file.h"

namespace atlas::ui {

class AnnotationStore : public QObject {
    Q_OBJECT

  public:
    explicit AnnotationStore(QObject* parent = nullptr);

    /// Reads `path` if it is there; later changes are written to it. An unreadable file is kept
    /// under another name, and `problem` says so.
    void open(const QString& path);
    void close();
    const QString& path() const { return path_; }

    const std::vector<Annotation>& all() const { return set_.annotations; }
    const AnnotationSet& set() const { return set_; }
    const Annotation* find(const QUuid& id) const;
    QColor colorOf(const Annotation& annotation) const;
    QUndoStack* undo() { return &undo_; }

    void add(const Annotation& annotation);
    void addAll(const AnnotationSet& set);
    void replace(const Annotation& annotation);  ///< the one with its id
    void remove(const QUuid& id);
    /// A class is there from now on, with this colour.
    void setClass(const QString& name, const QColor& color);

    QUuid selected() const { return selected_; }
    void select(const QUuid& id);
    /// The topmost one that a click means.
    QUuid at(const QPointF& point, double reach) const;

  Q_SIGNALS:
    void changed();
    void selectionChanged();
    void problem(QString text);

  private:
    class Change;
    void apply(const AnnotationSet& set);
    void push(const QString& text, AnnotationSet after);
    void save();

    QString path_;
    AnnotationSet set_;
    QUndoStack undo_;
    QUuid selected_;
};

}  // namespace atlas::ui
