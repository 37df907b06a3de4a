// SPDX-License-Identifier: Apache-2.0
// MainWindow: projects, sessions, settings and images by URL.
#include <QDockWidget>
#include <QFileDialog>
#include <QFileInfo>
#include <QInputDialog>
#include <QJsonArray>
#include <QMenu>

#include "ui/main_window/main_window.h"

namespace atlas::ui {

void MainWindow::buildProjectActions(QMenu* file) {
    addNamedAction(file, "file.openUrl", tr("Open from a &URL …"), QKeySequence("Ctrl+U"),
                   [this] { openUrl(); });
    auto* menu = file->addMenu(tr("Pro&ject"));
    addNamedAction(menu, "project.new", tr("&New project …"), {}, [this] {
        const QString folder =
            QFileDialog::getExistingDirectory(this, tr("Folder of the new project"));
        if (!folder.isEmpty()) newProject(folder);
    });
    addNamedAction(menu, "project.open", tr("&Open project …"), {}, [this] {
        const QString folder = QFileDialog::getExistingDirectory(this, tr("Open project"));
        if (!folder.isEmpty()) openProject(folder);
    });
    addNamedAction(menu, "project.add", tr("&Add images …"), {}, [this] {
        if (!project_) return showMessage(tr("Open or make a project first (File, Project)."));
        addToProject(QFileDialog::getOpenFileNames(this, tr("Add images to the project")));
    });
    addNamedAction(menu, "project.close", tr("&Close the project"), {}, [this] {
        project_.reset();
        imagesPanel_->setImages(tr("No project"), {});
        openSidecars();
    });
    addNamedAction(file, "file.lastSession", tr("Open the &last session"), {}, [this] {
        if (!restoreLast()) showMessage(tr("There is no session to open again."));
    });
}

void MainWindow::openUrl() {
    const QString url = QInputDialog::getText(
        this, tr("Open from a URL"),
        tr("Address of a raster (http or https). Of a cloud-optimised GeoTIFF only what is seen is "
           "fetched:"));
    if (url.isEmpty()) return;
    if (!url.startsWith("http://") && !url.startsWith("https://"))
        return showMessage(tr("\"%1\" does not begin with http:// or https://.").arg(url));
    openImage(url.trimmed());
}

void MainWindow::newProject(const QString& folder) {
    try {
        project_ = Project::create(folder);
        if (image_) {
            project_->add({path_});
            bringSidecars({path_});
            openSidecars();
        }
        showProject();
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::openProject(const QString& path) {
    try {
        project_ = Project::open(path);
        const QString model = project_->settings().value("model").toString();
        if (!model.isEmpty()) runPanel_->chooseModel(model);
        showProject();
        openSidecars();
        const QString image = project_->settings().value("open").toString();
        if (project_->images().contains(image)) openImage(image);
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::addToProject(const QStringList& images) {
    if (!project_ || images.isEmpty()) return;
    try {
        project_->add(images);
        bringSidecars(images);
        showProject();
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::showProject() {
    imagesPanel_->setImages(project_->name(), project_->images());
    if (auto* dock = findChild<QDockWidget*>("dock.images")) {
        dock->show();
        dock->raise();
    }
}

QJsonObject MainWindow::sessionState() const {
    if (path_.isEmpty()) return {};
    const auto& t = canvas_->transform();
    QJsonArray layers;
    for (const auto& l : layers_)
        if (l.visible) layers.append(l.id);
    return {{"image", path_},
            {"view", QJsonObject{{"x", t.centre().x()},
                                 {"y", t.centre().y()},
                                 {"scale", t.scale()},
                                 {"rotation", t.rotation()}}},
            {"project", project_ ? project_->folder() : QString()},
            {"folder", imagesPanel_->folder()},
            {"model", QString::fromStdString(runPanel_->modelDir().string())},
            {"views", views_->grid()->count()},
            {"visible", layers}};
}

void MainWindow::keepSession() {
    if (loading()) return;
    session_->keep(sessionState());
    if (!project_ || path_.isEmpty()) return;
    try {
        project_->setSettings(
            {{"model", QString::fromStdString(runPanel_->modelDir().string())}, {"open", path_}});
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

bool MainWindow::restore(const QJsonObject& session) {
    const QString image = session.value("image").toString();
    if (image.isEmpty()) return false;
    const QString project = session.value("project").toString(),
                  folder = session.value("folder").toString();
    if (QFileInfo(project).isDir()) try {
            project_ = Project::open(project);
            showProject();
        } catch (const std::exception&) {
            project_.reset();  // gone: the image is opened all the same
        }
    else if (QFileInfo(folder).isDir())
        openFolder(folder);
    const QString model = session.value("model").toString();
    if (!model.isEmpty()) runPanel_->chooseModel(model);
    views_->setCount(session.value("views").toInt(1));
    openImage(image);
    pendingView_ = session.value("view").toObject();
    pendingLayers_ = session.value("visible").toArray();
    return true;
}

bool MainWindow::restoreCrashed() {
    if (!restore(session_->takeCrashed())) return false;
    connect(
        this, &MainWindow::imageOpened, this,
        [this] {
            showMessage(
                tr("The program ended without notice. What was open is here again; "
                   "annotations and finished runs were kept."));
        },
        Qt::SingleShotConnection);
    return true;
}

bool MainWindow::restoreLast() {
    return restore(session_->last());
}

void MainWindow::openSettings() {
    auto* page = new SettingsPage(settings_, this);
    page->setAttribute(Qt::WA_DeleteOnClose);
    connect(page, &SettingsPage::edited, this, [this](const ViewerSettings& settings) {
        settings.save();
        applySettings(settings);
    });
    page->open();
}

void MainWindow::applySettings(const ViewerSettings& settings) {
    if (settings.theme != settings_.theme) setTheme(settings.theme);
    settings_ = settings;
    cache_->setBudget(static_cast<size_t>(settings.tileCacheMiB) << 20);
    canvas_->setTextureBudget(static_cast<qint64>(settings.texturesMiB) << 20);
    for (const auto* side : views_->grid()->sides())
        side->canvas()->setTextureBudget(static_cast<qint64>(settings.texturesMiB) << 20);
    updateStatus();
}

}  // namespace atlas::ui
