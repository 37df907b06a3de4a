// SPDX-License-Identifier: Apache-2.0
// MainWindow: annotations and measures.
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QRegularExpression>
#include <QStatusBar>
#include <stdexcept>

#include "engine/pipeline/run_request.h"
#include "io/geodesy.h"
#include "ui/annotations/annotation_vectors.h"
#include "ui/main_window/main_window.h"
#include "ui/units.h"

namespace atlas::ui {

QString MainWindow::measureText(const Annotation& a) const {
    if (!image_ || a.shape == Annotation::Shape::Point || a.points.size() < 2) return {};
    if (const auto& geo = image_->info().georeference; geo && geo->geographic) {
        const auto measured = [&](const QPolygonF& line) {
            std::vector<std::array<double, 2>> points;
            for (const auto& p : line) points.push_back({p.x(), p.y()});
            return io::measureGround(*geo, points, a.hasArea());
        };
        auto all = measured(a.outline());
        for (const auto& hole : a.holes) {
            const auto inner = measured(hole);
            all.metres += inner.metres;
            all.squareMetres -= inner.squareMetres;
        }
        const QString length = QString::fromStdString(engine::lengthText(all.metres * 1e6, true));
        return a.hasArea()
                   ? tr("%1, around %2").arg(areaText(all.squareMetres * 1e12, true, 3), length)
                   : length;
    }
    double x = 0, y = 0;
    bool ground = false;
    QString note;
    if (const auto& r = image_->info().resolution) {
        x = r->umPerPixelX;
        y = r->umPerPixelY;
        ground = r->ground;
    } else if (hasShownRequest_ && shownRequest_.resolutionUm) {
        x = y = *shownRequest_.resolutionUm;
        ground = look_.ground;
        note = tr(" (pixel size as given for the run)");
    }
    if (!(x > 0)) {
        return a.hasArea() ? tr("%1 px²").arg(a.area(), 0, 'f', 0)
                           : tr("%1 px").arg(a.length(), 0, 'f', 1);
    }
    Annotation scaled = a;
    const auto scale = [&](QPolygonF& line) {
        for (auto& p : line) p = QPointF(p.x() * x, p.y() * y);
    };
    scale(scaled.points);
    for (auto& hole : scaled.holes) scale(hole);
    const QString length = QString::fromStdString(engine::lengthText(scaled.length(), ground));
    return (a.hasArea() ? tr("%1, around %2").arg(areaText(scaled.area(), ground, 3), length)
                        : length) +
           note;
}

namespace {
constexpr const char *kAnnotations = "annotations.geojson", *kBookmarks = "bookmarks.json";
}

/// Where something about an image is kept in a folder.
QString MainWindow::sidecar(const std::filesystem::path& folder, const QString& image,
                            const char* ending) const {
    static const QRegularExpression odd(R"([/\\:?*"<>|]+)");  // of URLs and synthetic scenes
    const QFileInfo file(image);
    QString name = file.exists() ? file.fileName() : QString(image).replace(odd, "_");
    if (project_ && folder == outFor(image)) name += project_->tagOf(image);
    return QDir(QString::fromStdString(folder.string())).absoluteFilePath(name + "." + ending);
}

/// Annotations and bookmarks of the open image: beside it, or in the project.
void MainWindow::openSidecars() {
    if (!image_) return;
    annotations_->open(sidecar(outFor(path_), path_, kAnnotations));
    views_->openBookmarks(sidecar(outFor(path_), path_, kBookmarks));
}

/// What images had beside them comes into the project as copies; what the project has stays.
void MainWindow::bringSidecars(const QStringList& images) {
    QDir().mkpath(QString::fromStdString(outFor({}).string()));
    for (const auto& image : images)
        for (const char* ending : {kAnnotations, kBookmarks}) {
            const QString from = sidecar(besideOf(image), image, ending),
                          to = sidecar(outFor(image), image, ending);
            if (QFileInfo::exists(from) && !QFileInfo::exists(to) && !QFile::copy(from, to))
                throw std::runtime_error(
                    tr("%1: could not be copied from %2").arg(to, from).toStdString());
        }
}

void MainWindow::connectAnnotations() {
    canvas_->setAnnotations(annotations_, [this](const Annotation& a) { return measureText(a); });
    connect(annotations_, &AnnotationStore::problem, this, &MainWindow::showMessage);
    connect(annotationsPanel_, &AnnotationsPanel::goToAsked, canvas_, &Canvas::showBox);
    connect(annotationsPanel_, &AnnotationsPanel::classChosen, canvas_,
            &Canvas::setAnnotationClass);
    connect(annotationsPanel_, &AnnotationsPanel::importAsked, this, [this] {
        const QString path =
            QFileDialog::getOpenFileName(this, tr("Import annotations"), {}, fileKinds());
        if (!path.isEmpty()) importAnnotations(path);
    });
    connect(annotationsPanel_, &AnnotationsPanel::exportAsked, this, [this] {
        const QString path = QFileDialog::getSaveFileName(this, tr("Export annotations"),
                                                          "annotations.geojson", fileKinds());
        if (!path.isEmpty()) exportAnnotations(path);
    });
}

/// Rasters with coordinates also take what GIS programs write.
QString MainWindow::fileKinds() const {
    const bool map = image_ && image_->info().georeference;
    return map ? tr("GeoJSON in pixels (*.geojson *.json);;GeoPackage (*.gpkg);;Shapefile (*.shp)")
               : tr("GeoJSON (*.geojson *.json)");
}

const io::GeoReference& MainWindow::georeference() const {
    if (!image_ || !image_->info().georeference)
        throw std::runtime_error(
            tr("This image has no map coordinates: use GeoJSON in pixels.").toStdString());
    return *image_->info().georeference;
}

void MainWindow::exportAnnotations(const QString& path) {
    try {
        if (path.endsWith("json", Qt::CaseInsensitive))
            saveAnnotations(path, annotations_->set());
        else
            saveVectorFile(path, annotations_->set(), georeference());
        statusBar()->showMessage(tr("Written: %1").arg(path), 5000);
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::importAnnotations(const QString& path) {
    try {
        QString note;
        const AnnotationSet set = path.endsWith("json", Qt::CaseInsensitive)
                                      ? loadAnnotations(path)
                                      : loadVectorFile(path, georeference(), &note);
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
