// SPDX-License-Identifier: Apache-2.0
#include "ui/main_window/main_window.h"

#include <QCloseEvent>
#include <QDir>
#include <QFileInfo>
#include <QJsonArray>
#include <QMenuBar>
#include <QMessageBox>
#include <QPushButton>
#include <QScreen>
#include <QSettings>
#include <QStatusBar>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/pipeline/trust.h"
#include "io/reader_registry.h"

namespace atlas::ui {

MainWindow::MainWindow(const WindowOptions& options)
    : options_(options),
      cache_(std::make_shared<io::TileCache>(options.cacheBytes)),
      runs_(new RunController(cache_, this)),
      annotations_(new AnnotationStore(this)) {
    setObjectName("window");
    setWindowTitle("AtlasScope");
    setAcceptDrops(true);
    resize(QSize(1400, 880).boundedTo(screen()->availableSize()));
    buildCentre();
    buildDocks();
    buildActions();
    runPanel_->setModels(options.models);
    runPanel_->chooseDevice(QString::fromStdString(options.defaults.device));
    connect(canvas_, &Canvas::viewChanged, this, &MainWindow::updateStatus);
    connect(canvas_, &Canvas::hovered, this, &MainWindow::onHover);
    connect(canvas_, &Canvas::probed, this, &MainWindow::probe);
    connect(canvas_, &Canvas::problem, this, &MainWindow::showMessage);
    connect(canvas_, &Canvas::regionChanged, this, [this](const QRectF& region) {
        if (region.isEmpty()) return;
        runPanel_->setArea(RunPanel::Area::Rectangle);
        regionIsNewest_ = true;
    });
    connect(annotations_, &AnnotationStore::selectionChanged, this, [this] {
        if (!annotations_->selected().isNull()) regionIsNewest_ = false;
    });
    connect(canvas_, &Canvas::filesDropped, this, &MainWindow::openDropped);
    session_ = std::make_unique<Session>(
        QString::fromStdString((options_.userData / "sessions").string()));
    connect(runPanel_, &RunPanel::maskPreviewAsked, this, &MainWindow::previewMask);
    connect(layersPanel_->adjuster(), &ImageAdjuster::edited, this, [this](const ImageLook& look) {
        canvas_->setLook(look);
        views_->grid()->setLook(look);
    });
    connect(layersPanel_, &LayersPanel::selectionChanged, views_,
            &ViewsController::setSelectedLayer);
    connect(layersPanel_, &LayersPanel::moveAsked, this, &MainWindow::moveLayer);
    connect(canvas_, &Canvas::smallPictureChanged, this,
            [this] { layersPanel_->adjuster()->setPicture(canvas_->smallPicture()); });
    connect(layersPanel_, &LayersPanel::displayEdited, this, &MainWindow::setDisplay);
    connect(runPanel_, &RunPanel::startAsked, this, &MainWindow::startRun);
    connect(runPanel_, &RunPanel::cancelAsked, this, [this] { runs_->cancelAll(); });
    connect(layersPanel_, &LayersPanel::visibilityChanged, this,
            [this](const QString& id, bool visible) {
                if (id.isEmpty())
                    imageVisible_ = visible;
                else if (auto* l = layer(id))
                    l->visible = visible;
                applyLayers();
            });
    connect(layersPanel_, &LayersPanel::edited, this, [this](const OverlayLayer& changed) {
        if (auto* l = layer(changed.id)) {
            *l = changed;
            retitle(*l);
        }
        applyLayers();
    });
    connect(imagesPanel_, &ImagesPanel::openAsked, this, &MainWindow::openImage);
    connect(imagesPanel_, &ImagesPanel::queueAsked, this, &MainWindow::queueImages);
    connect(runs_, &RunController::jobChanged, this, &MainWindow::onJobChanged);
    connect(runs_, &RunController::jobFinished, this, &MainWindow::onJobFinished);
    connect(runs_, &RunController::queueFinished, this, [this] {
        if (folderJobs_.empty()) return;
        std::vector<Job> jobs;
        for (int number : folderJobs_) jobs.push_back(runs_->jobs()[static_cast<size_t>(number)]);
        const auto csv =
            std::filesystem::path(outFor(QString::fromStdString(jobs.front().request.image))) /
            "atlasscope-summary.csv";
        const QString error = RunController::writeSummary(jobs, csv);
        const auto failed = std::count_if(jobs.begin(), jobs.end(), [](const Job& j) {
            return j.outcome.state != engine::RunState::Done;
        });
        showMessage(error.isEmpty() ? tr("%1 of %2 images done. Summary: %3")
                                          .arg(jobs.size() - static_cast<size_t>(failed))
                                          .arg(jobs.size())
                                          .arg(QString::fromStdString(csv.string()))
                                    : error);
        folderJobs_.clear();
    });
    connectExplorer();
    connectAnnotations();
    connect(contextsPanel_, &ContextsPanel::chosen, this, &MainWindow::goToContext);
    connect(contextsPanel_, &ContextsPanel::filterChanged, this, &MainWindow::filterPrediction);
    connect(&liveTimer_, &QTimer::timeout, this, &MainWindow::refreshLive);
    liveTimer_.setInterval(400);
    connect(&statusTimer_, &QTimer::timeout, this, &MainWindow::updateStatus);
    connect(&statusTimer_, &QTimer::timeout, this, &MainWindow::keepSession);
    statusTimer_.start(1000);
    QSettings settings;
    if (!settings.value("seen/researchUse").toBool()) {
        showMessage(tr("AtlasScope is for research use only, not for diagnosis."));
        settings.setValue("seen/researchUse", true);
    }
    restoreGeometry(settings.value("window/geometry").toByteArray());
    restoreState(settings.value("window/state").toByteArray());
}

MainWindow::~MainWindow() {
    runs_->cancelAll();
    openers_.clear();
}

void MainWindow::closeEvent(QCloseEvent* event) {
    QSettings settings;
    settings.setValue("window/geometry", saveGeometry());
    settings.setValue("window/state", saveState());
    runs_->stopAsking();
    runs_->cancelAll();  // what is done is kept
    keepSession();
    session_->end();
    event->accept();
}

void MainWindow::openDropped(const QStringList& paths) {
    QStringList images, models;
    for (const auto& path : paths)
        if (engine::isModel(path.toStdString())) models << QFileInfo(path).absoluteFilePath();
    if (!models.isEmpty()) return openModels(models);
    for (const auto& path : paths)
        if (QFileInfo(path).isFile()) images << path;
    addToProject(images);
    QFileInfo(paths.first()).isDir() ? openFolder(paths.first()) : openImage(paths.first());
}

void MainWindow::openImage(const QString& path) {
    clearMessage();
    opening_ = true;
    const int number = ++openNumber_;
    statusBar()->showMessage(tr("Opening %1 …").arg(path));
    openers_.emplace_back([this, path, number, options = openOptions_] {
        std::shared_ptr<const io::ColorSource> image;
        QString error;
        try {
            const auto source = io::openImage(path.toStdString(), options);
            image = std::make_shared<io::ColorSource>(source, io::defaultDisplay(source->info()),
                                                      cache_);
        } catch (const std::exception& problem) {
            error = QString::fromUtf8(problem.what());
        }
        QMetaObject::invokeMethod(
            this,
            [this, path, image, error, number] {
                if (number == openNumber_) onOpened(path, image, error);
            },
            Qt::QueuedConnection);
    });
}

void MainWindow::onOpened(const QString& path, std::shared_ptr<const io::ColorSource> image,
                          const QString& error) {
    opening_ = false;
    statusBar()->clearMessage();
    const QJsonObject view = std::exchange(pendingView_, {});
    const QJsonArray visible = std::exchange(pendingLayers_, {});
    if (!image) {
        showMessage(error);
        return;
    }
    image_ = std::move(image);
    path_ = path;
    layers_.clear();
    look_ = {};
    hasShownRequest_ = false;
    explorerValues_ = {};
    forgetProbe();
    explorerModel_.clear();
    explorer_->clearModel();
    contextsPanel_->clear();
    runsMenu_->setEnabled(false);
    compareMenu_->setEnabled(false);
    layersPanel_->adjuster()->setLook({});
    canvas_->setLook({});
    tiles_.clear();
    allClasses_.reset();
    const auto& info = image_->info();
    std::optional<double> um;
    if (info.resolution) um = info.resolution->umPerPixelX;
    canvas_->setImage(image_, um, info.resolution && info.resolution->ground);
    centre_->setCurrentWidget(views_->grid());
    canvas_->setFocus();
    setWindowTitle(QFileInfo(path).fileName() + " - AtlasScope");
    runPanel_->setImageOpen(true);
    runPanel_->setResolutionKnown(
        um.has_value(),
        um ? tr("%1 a pixel (%2)")
                 .arg(QString::fromStdString(engine::lengthText(*um, info.resolution->ground)),
                      QString::fromStdString(info.resolution->origin))
           : tr("the image does not say it"));
    QStringList notes;
    for (const auto& warning : info.warnings) notes << QString::fromStdString(warning);
    if (!notes.isEmpty()) showMessage(tr("Note: %1").arg(notes.join("; ")));
    applyLayers();
    showDisplay();
    rememberRecent(path);
    views_->setImage(image_, path);
    openSidecars();
    restoreRuns();
    if (!view.isEmpty()) {
        canvas_->setRotation(view.value("rotation").toDouble());
        canvas_->goTo({view.value("x").toDouble(), view.value("y").toDouble()},
                      view.value("scale").toDouble(1));
    }
    if (!visible.isEmpty()) {
        for (auto& l : layers_) l.visible = visible.contains(l.id);
        applyLayers();
    }
    Q_EMIT imageOpened(path);
}

void MainWindow::showDisplay() {
    QStringList names;
    for (const auto& band : image_->info().bands) names << QString::fromStdString(band.name);
    const auto& info = image_->info();
    layersPanel_->setDisplay(names, image_->settings(), io::vegetationBands(info),
                             io::defaultDisplay(info).bands);
}

void MainWindow::setDisplay(io::DisplaySettings settings, bool ofView) {
    if (!image_) return;
    if (ofView) {
        const QRect seen = canvas_->transform().visibleImageRect().toAlignedRect();
        settings.stretchArea = {seen.x(), seen.y(), seen.width(), seen.height()};
    }
    opening_ = true;
    const int number = ++openNumber_;
    openers_.emplace_back([this, number, settings, source = image_->source()] {
        std::shared_ptr<const io::ColorSource> image;
        QString error;
        try {
            image = std::make_shared<io::ColorSource>(source, settings, cache_);
        } catch (const std::exception& problem) {
            error = QString::fromUtf8(problem.what());
        }
        QMetaObject::invokeMethod(
            this,
            [this, image, error, number] {
                if (number != openNumber_) return;
                opening_ = false;
                if (!image) return showMessage(error);
                const QPointF centre = canvas_->transform().centre();
                const double scale = canvas_->transform().scale(),
                             rotation = canvas_->transform().rotation();
                image_ = image;
                std::optional<double> um;
                if (image_->info().resolution) um = image_->info().resolution->umPerPixelX;
                canvas_->setImage(image_, um, um && image_->info().resolution->ground);
                canvas_->setRotation(rotation);
                canvas_->goTo(centre, scale);
                views_->setImage(image_, path_);
                applyLayers();
                showDisplay();
            },
            Qt::QueuedConnection);
    });
}

void MainWindow::restoreRuns() {
    const auto runs = runsOf(path_);
    if (runs.empty()) return;
    showRun(runs.front());
    statusBar()->showMessage(
        runs.size() > 1
            ? tr("The newest of %1 runs is shown; the others are in the Run menu.").arg(runs.size())
            : tr("The run found beside the image is shown."),
        8000);
}

std::filesystem::path MainWindow::outFor(const QString& image) const {
    return project_ ? std::filesystem::path(project_->runsFolder().toStdString()) : besideOf(image);
}

/// The runs of a project's image, then those that were made beside it before; newest first each.
std::vector<std::filesystem::path> MainWindow::runsOf(const QString& image) const {
    auto runs = engine::findRuns(outFor(image), image.toStdString());
    if (project_)
        for (const auto& run : engine::findRuns(besideOf(image), image.toStdString()))
            runs.push_back(run);
    return runs;
}

std::filesystem::path MainWindow::besideOf(const QString& image) const {
    const QFileInfo file(image);
    if (file.exists() && QFileInfo(file.absolutePath()).isWritable())
        return file.absolutePath().toStdString();
    return options_.userData / "results";
}

void MainWindow::setAlpha(io::AlphaChoice choice) {
    openOptions_.alpha = choice;
    if (image_) openImage(path_);
}

void MainWindow::openFolder(const QString& folder) {
    if (!QFileInfo(folder).isDir()) {
        showMessage(tr("%1: is no folder").arg(folder));
        return;
    }
    imagesPanel_->setFolder(folder);
}

engine::RunRequest MainWindow::requestFor(const QString& image) const {
    engine::RunRequest request = options_.defaults;
    request.image = image.toStdString();
    request.out = outFor(image);
    runPanel_->fill(request);
    request.open = openOptions_;
    return request;
}

/// TorchScript is code: asked once for each file, with its hash.
bool MainWindow::mayRun(const engine::RunRequest& request) {
    const auto code = engine::codeOf(request.modelDir);
    if (!code || engine::isTrusted(*code, request.trustFile)) return true;
    QMessageBox question(QMessageBox::Warning, tr("Run this model's code?"),
                         tr("This model is TorchScript: a program that runs with your rights. Run "
                            "it only if you know where it is from."),
                         QMessageBox::NoButton, this);
    question.setObjectName("trust.dialog");
    question.setInformativeText(tr("%1\nSHA-256 %2")
                                    .arg(QString::fromStdString(code->file.string()),
                                         QString::fromStdString(code->sha256)));
    auto* yes = question.addButton(tr("Trust and run"), QMessageBox::AcceptRole);
    yes->setObjectName("trust.yes");
    auto* no = question.addButton(tr("Do not run"), QMessageBox::RejectRole);
    no->setObjectName("trust.no");
    question.setDefaultButton(no);
    question.exec();
    if (question.clickedButton() != yes) {
        showMessage(
            tr("Not run: %1 is not trusted.").arg(QString::fromStdString(code->file.string())));
        return false;
    }
    engine::trust(*code, request.trustFile);
    return true;
}

void MainWindow::startRun() {
    if (!image_) return;
    clearMessage();
    try {
        engine::RunRequest request = requestFor(path_);
        QRectF area;
        if (runPanel_->area() == RunPanel::Area::View)
            area = canvas_->transform().visibleImageRect();
        if (runPanel_->area() == RunPanel::Area::Rectangle) area = canvas_->region();
        if (runPanel_->area() == RunPanel::Area::Rectangle && area.isEmpty()) {
            showMessage(tr("Draw a rectangle first (R), or choose another area."));
            return;
        }
        if (!area.isEmpty()) {
            const QRect whole = area.toAlignedRect();
            request.region = io::Rect{whole.x(), whole.y(), whole.width(), whole.height()};
        }
        if (!image_->info().resolution && !request.resolutionUm) {
            showMessage(tr("%1 does not say how large a pixel is: fill in \"Pixel size\", e.g. "
                           "0.5um or 0.3m.")
                            .arg(path_));
            return;
        }
        const auto model = engine::loadModelConfig(request.modelDir);
        if (!mayRun(request)) return;
        look_ = ModelLook::of(model);
        setExplorerModel(request.modelDir);
        forgetProbe();
        layers_.clear();
        shownRequest_ = request;
        hasShownRequest_ = true;
        if (request.resolutionUm) canvas_->setResolution(*request.resolutionUm, model.ground);
        runs_->enqueue(request);
        const QPointF centre = canvas_->transform().centre();
        runs_->setFocus(centre.x(), centre.y());
        liveTimer_.start();
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::queueImages(const QStringList& images) {
    try {
        if (!images.isEmpty() && !mayRun(requestFor(images.first()))) return;
        for (const auto& image : images) {
            imagesPanel_->setState(image, tr("waiting"), {});
            folderJobs_.push_back(static_cast<int>(runs_->jobs().size()));
            runs_->enqueue(requestFor(image));
        }
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

void MainWindow::onJobChanged(int number) {
    const Job& job = runs_->jobs()[static_cast<size_t>(number)];
    const QString image = QString::fromStdString(job.request.image);
    const QString state = job.waiting ? tr("waiting") : progressText(job.progress);
    lastJobState_ = QString::fromUtf8(engine::runStateName(job.progress.state));
    imagesPanel_->setState(image, job.ended ? lastJobState_ : state, state);
    if (!job.waiting) runPanel_->showProgress(job.progress);
    if (!job.progress.device.empty())
        deviceText_->setText(QString::fromStdString(job.progress.device));
}

void MainWindow::onJobFinished(int number) {
    const Job& job = runs_->jobs()[static_cast<size_t>(number)];
    const QString image = QString::fromStdString(job.request.image);
    const bool shown = hasShownRequest_ && shownRequest_.image == job.request.image;
    if (!job.outcome.error.empty() && folderJobs_.empty())
        showMessage(QString::fromStdString(job.outcome.error));
    if ((image == path_ || shown) && !job.outcome.folder.empty() && image == path_) {
        liveTimer_.stop();
        shownRequest_ = job.request;
        hasShownRequest_ = true;
        showRun(job.outcome.folder);
        QStringList notes;
        for (const auto& warning : job.outcome.warnings)
            if (!std::count(image_->info().warnings.begin(), image_->info().warnings.end(),
                            warning))
                notes << QString::fromStdString(warning);
        if (!notes.isEmpty() && job.outcome.error.empty())
            showMessage(tr("Look twice: %1").arg(notes.join("; ")));
    }
    if (!runs_->busy()) liveTimer_.stop();
    showModelsCompared(number);
}

void MainWindow::updateStatus() {
    cacheText_->setText(tr("cache %1 MiB").arg((cache_->bytes() + (size_t{1} << 19)) >> 20));
    if (!image_) return;
    const auto& info = image_->info();
    const double rotation = canvas_->transform().rotation();
    scaleText_->setText(
        tr("%1 %").arg(100 * canvas_->transform().scale(), 0, 'g', 3) +
        (rotation != 0
             ? tr(" · turned %1°").arg(rotation, 0, 'f', rotation == std::floor(rotation) ? 0 : 1)
             : QString()));
    if (!hoverInside_) {
        positionText_->clear();
        return;
    }
    QString text =
        tr("x %1  y %2").arg(static_cast<qint64>(hover_.x())).arg(static_cast<qint64>(hover_.y()));
    if (info.georeference) {
        const auto map = info.georeference->mapFromPixel(hover_.x(), hover_.y());
        text += QString("  ·  %1, %2")
                    .arg(map[0], 0, 'f', info.georeference->geographic ? 6 : 1)
                    .arg(map[1], 0, 'f', info.georeference->geographic ? 6 : 1);
    } else if (info.resolution) {
        text += QString("  ·  %1, %2")
                    .arg(QString::fromStdString(engine::lengthText(
                             hover_.x() * info.resolution->umPerPixelX, info.resolution->ground)),
                         QString::fromStdString(engine::lengthText(
                             hover_.y() * info.resolution->umPerPixelY, info.resolution->ground)));
    }
    positionText_->setText(text);
}

void MainWindow::showMessage(const QString& text) {
    messageText_->setText(text);
    messageBar_->setVisible(!text.isEmpty());
}

void MainWindow::clearMessage() {
    showMessage({});
}

bool MainWindow::settled() const {
    return !opening_ && !runs_->asking() && !runs_->busy() && canvas_->settled() &&
           !views_->opening() && views_->grid()->settled();
}

QJsonObject MainWindow::values() const {
    QJsonObject v{{"message", message()},
                  {"image", path_},
                  {"scale", canvas_->transform().scale()},
                  {"rotation", canvas_->transform().rotation()},
                  {"views", views_->grid()->count()},
                  {"bookmarks", static_cast<int>(views_->bookmarks().all().size())},
                  {"project", project_ ? project_->folder() : QString()},
                  {"device", deviceText_->text()},
                  {"state", lastJobState_},
                  {"busy", runs_->busy()},
                  {"pointer", pointer_},
                  {"probe", probeValues_},
                  {"explorer", explorerValues_},
                  {"inspector", inspector_->text()},
                  {"position", positionText_->text()},
                  {"attentionScale", scale_}};
    if (image_) {
        v["width"] = static_cast<double>(image_->info().levels[0].width);
        v["height"] = static_cast<double>(image_->info().levels[0].height);
    }
    QJsonObject layers, folder;
    for (const auto& l : layers_)
        layers[l.id] = QJsonObject{{"visible", l.visible},
                                   {"opacity", l.opacity},
                                   {"title", l.title},
                                   {"band", l.band},
                                   {"threshold", l.threshold}};
    for (const auto& image : imagesPanel_->images())
        folder[QFileInfo(image).fileName()] = imagesPanel_->stateOf(image);
    v["layers"] = layers;
    v["annotations"] =
        QJsonObject{{"count", static_cast<int>(annotations_->all().size())},
                    {"selected", annotations_->find(annotations_->selected())
                                     ? measureText(*annotations_->find(annotations_->selected()))
                                     : QString()}};
    v["contexts"] =
        QJsonObject{{"shown", contextsPanel_->shown()}, {"all", static_cast<int>(tiles_.size())}};
    v["folder"] = folder;
    if (const Job* job = runs_->running()) v["done"] = static_cast<double>(job->progress.done);
    return v;
}

}  // namespace atlas::ui
