// SPDX-License-Identifier: Apache-2.0
// The annotations of the image in a list, and what is known of the selected one.
#pragma once

#include <QComboBox>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPushButton>
#include <QWidget>

#include "ui/annotations/annotation_store.h"
#include "ui/annotations/annotation_tool.h"

namespace atlas::ui {

class AnnotationsPanel : public QWidget {
    Q_OBJECT

  public:
    AnnotationsPanel(AnnotationStore* store, MeasureText measure, QWidget* parent = nullptr);
    /// Offered beside those that are used already.
    void offerClasses(const QStringList& names, const std::vector<QColor>& colors);
    void refresh();

  Q_SIGNALS:
    void goToAsked(QRectF box);
    void importAsked();
    void exportAsked();
    void classChosen(QString name);  ///< for what is drawn next

  private:
    void showSelected();
    void fillClasses();
    void edit(const std::function<void(Annotation&)>& change);
    void chooseClass(const QString& name);

    AnnotationStore* store_;
    MeasureText measure_;
    QMap<QString, QColor> offered_;
    QListWidget* list_;
    QLabel *empty_, *size_;
    QComboBox* class_;
    QPushButton *color_, *remove_;
    QLineEdit *name_, *note_;
    bool filling_ = false;
};

}  // namespace atlas::ui
