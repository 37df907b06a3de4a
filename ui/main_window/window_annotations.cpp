// SPDX-License-Identifier: Apache-2.0
// MainWindow: annotations and measures.
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>

#include "engine/pipeline/run_request.h"
#include "ui/main_window/main_window.h"
#include "ui/units.h"

namespace atlas::ui {
QString MainWindow::measureText(const Annotation& a) const {
    if (!image_ || a.shape == Annotation::Shape::Point || a.points.size() < 2) return {};
    double x = 0, y = 0;
    bool ground = false;
    if (const auto& r = image_->info().resolution) {
        x = r->umPerPixelX;
        y = r->umPerPixelY;
        ground = r->ground;
    } else if (hasShownRequest_ && shownRequest_.resolutionUm) {
        x = y = *shownRequest_.resolutionUm;
    }
    if (!(x > 0)) {
        return a.hasArea() ? tr("%1 px²").arg(a.area(), 0, 'f', 0)
                           : tr("%1 px").arg(a.length(), 0, 'f', 1);
    }
    Annotation scaled = a;
    for (auto& p : scaled.points) p = QPointF(p.x() * x, p.y() * y);
    const QString length = QString::fromStdString(engine::lengthText(scaled.length(), ground));
    return a.hasArea() ? tr("%1, around %2").arg(areaText(scaled.area(), ground, 3), length)
                       : length;
}

QString MainWindow::annotationsFor(const QString& image) const {
    const QFileInfo file(image);
    const QString name = (file.exists() ? file.fileName() : QString(image).replace(':', '_')) +
                         ".annotations.geojson";
    const auto folder = outFor(image);
    return QDir(QString::fromStdString(folder.string())).absoluteFilePath(name);
}

void MainWindow::connectAnnotations() {
    canvas_->setAnnotations(annotations_, [this](const Annotation& a) { return measureText(a); });
    connect(annotations_, &AnnotationStore::problem, this, &MainWindow::showMessage);
    connect(annotationsPanel_, &AnnotationsPanel::goToAsked, canvas_, &Canvas::showBox);
    connect(annotationsPanel_, &AnnotationsPanel::classChosen, canvas_,
            &Canvas::setAnnotationClass);
    connect(annotationsPanel_, &AnnotationsPanel::importAsked, this, [this] {
        const QString path = QFileDialog::getOpenFileName(this, tr("Import annotations"), {},
                                                          tr("GeoJSON (*.geojson *.json)"));
        if (!path.isEmpty()) importAnnotations(path);
    });
    connect(annotationsPanel_, &AnnotationsPanel::exportAsked, this, [this] {
        const QString path = QFileDialog::getSaveFileName(
            this, tr("Export annotations"), "annotations.geojson", tr("GeoJSON (*.geojson)"));
        if (path.isEmpty()) return;
        try {
            saveAnnotations(path, annotations_->set());
        } catch (const std::exception& error) {
            showMessage(QString::fromUtf8(error.what()));
        }
    });
}

void MainWindow::importAnnotations(const QString& path) {
    try {
        QString note;
        const AnnotationSet set = loadAnnotations(path, &note);
        annotations_->addAll(set);
        showMessage(tr("%1 annotations added%2")
                        .arg(set.annotations.size())
                        .arg(note.isEmpty() ? QString() : "; " + note));
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::keepRegion() {
    const QRectF region = canvas_->region();
    if (region.isEmpty()) {
        showMessage(tr("Draw a rectangle first (R): A keeps it as an annotation."));
        return;
    }
    Annotation a;
    a.shape = Annotation::Shape::Rectangle;
    a.points = QPolygonF({region.topLeft(), region.bottomRight()});
    a.className = canvas_->annotationClass();
    annotations_->add(a);
    canvas_->setRegion({});
}

}  // namespace atlas::ui
