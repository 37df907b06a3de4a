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
#include <numeric>
#include <utility>

#include "engine/pipeline/trust.h"
#include "io/reader_registry.h"
#include "ui/wheel_guard.h"

namespace atlas::ui {

MainWindow::MainWindow(const WindowOptions& options)
    : options_(options),
      cache_(std::make_shared<io::TileCache>(options.cacheBytes)),
      runs_(new RunController(cache_, this)),
      annotations_(new AnnotationStore(this)) {
    WheelGuard::install();
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
    connect(runPanel_, &RunPanel::inputChanged, this, &MainWindow::showModelInput);
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
    connect(runs_, &RunController::queueFinished, this, &MainWindow::writeFolderSummary);
    connect(&work_, &Background::problem, this, &MainWindow::showMessage);
    connect(&live_, &Background::problem, this, &MainWindow::showMessage);
    connect(&work_, &Background::changed, this, [this] { busyText_->setText(work_.words()); });
    for (auto* background : {&work_, &live_, &inputs_}) background->setWatch(options_.watch);
    runs_->setWatch(options_.watch);
    views_->setWatch(options_.watch);
    imagesPanel_->setWatch(options_.watch);
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
    for (auto* background : {&work_, &live_, &inputs_}) background->end();
    runs_->end();
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
    work_.forget(openTask_);
    openTask_ = work_.start(
        "open", tr("Opening %1 …").arg(QFileInfo(path).fileName()),
        [this, path, options = openOptions_, cache = cache_](const std::stop_token&) {
            const auto source = io::openImage(path.toStdString(), options);
            const auto image = std::make_shared<const io::ColorSource>(
                source, io::defaultDisplay(source->info()), cache);
            return Background::Then([this, path, image] { openDisplayed(path, image); });
        },
        [this](const QString& error) {
            pendingView_ = {};
            pendingLayers_ = {};
            showMessage(error);
        });
}

/// The image before is left: nothing that was asked of it arrives any more. Its runs go on.
void MainWindow::openDisplayed(const QString& path,
                               const std::shared_ptr<const io::ColorSource>& image) {
    const QJsonObject view = std::exchange(pendingView_, {});
    const QJsonArray visible = std::exchange(pendingLayers_, {});
    ++subject_.image;
    modelsCompared_.clear();
    dropRun();
    work_.forget(displayTask_);
    work_.forget(maskTask_);
    // What the user said of the bands holds for images of the same kind.
    if (image_ && (image_->info().bands.size() != image->info().bands.size() ||
                   image_->info().type != image->info().type))
        runPanel_->setInputAutomatic();
    image_ = image;
    path_ = path;
    explorerValues_ = {};
    explorerModel_.clear();
    explorer_->clearModel();
    runsMenu_->setEnabled(false);
    compareMenu_->setEnabled(false);
    layersPanel_->adjuster()->setLook({});
    canvas_->setLook({});
    const auto& info = image_->info();
    std::optional<double> um;
    if (info.resolution) um = info.resolution->umPerPixelX;
    canvas_->setImage(image_, um, info.resolution && info.resolution->ground);
    centre_->setCurrentWidget(views_->grid());
    canvas_->setFocus();
    setWindowTitle(QFileInfo(path).fileName() + " - AtlasScope");
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
    showModelInput();
    rememberRecent(path);
    views_->setImage(image_, path);
    openSidecars();
    restoreRuns(visible);
    if (!view.isEmpty()) {
        canvas_->setRotation(view.value("rotation").toDouble());
        canvas_->goTo({view.value("x").toDouble(), view.value("y").toDouble()},
                      view.value("scale").toDouble(1));
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
    work_.forget(displayTask_);
    displayTask_ = work_.start(
        "display", tr("Measuring the image …"),
        [this, settings, source = image_->source(), cache = cache_](const std::stop_token&) {
            const auto image = std::make_shared<const io::ColorSource>(source, settings, cache);
            return Background::Then([this, image] { showDisplayed(image); });
        },
        [this](const QString& error) { showMessage(error); });
}

/// The same image in other colours; the view stays.
void MainWindow::showDisplayed(const std::shared_ptr<const io::ColorSource>& image) {
    const QPointF centre = canvas_->transform().centre();
    const double scale = canvas_->transform().scale(), rotation = canvas_->transform().rotation();
    image_ = image;
    canvas_->setImage(image_, {}, false);
    showResolution();
    canvas_->setRotation(rotation);
    canvas_->goTo(centre, scale);
    views_->setImage(image_, path_);
    applyLayers();
    showDisplay();
}

/// The image's own pixel size; where it has none, the one that the run was given, and said so.
void MainWindow::showResolution() {
    if (const auto& own = image_->info().resolution)
        canvas_->setResolution(own->umPerPixelX, own->ground);
    else if (hasShownRequest_ && shownRequest_.resolutionUm)
        canvas_->setResolution(*shownRequest_.resolutionUm, look_.ground,
                               tr("as given for the run"));
    else
        canvas_->setResolution({}, false);
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
    return !loading() && !inputs_.busy() && !runs_->asking() && !runs_->busy() &&
           canvas_->settled() && !views_->opening() && views_->grid()->settled();
}

namespace {

/// As the legend has them.
QJsonObject sharesOf(const OverlayLayer& layer) {
    QJsonObject shares;
    const double all = std::accumulate(layer.areas.begin(), layer.areas.end(), 0.0);
    for (size_t i = 0; i < layer.areas.size(); ++i)
        if (layer.areas[i] > 0)
            shares[layer.classNames.value(static_cast<int>(i))] = layer.areas[i] / all;
    return shares;
}

}  // namespace

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
                  {"loading", work_.words()},
                  {"pointer", pointer_},
                  {"probe", probeValues_},
                  {"explorer", explorerValues_},
                  {"inspector", inspector_->text()},
                  {"position", positionText_->text()},
                  {"scaleBar", canvas_->scaleBar()},
                  {"attentionScale", scale_}};
    if (image_) {
        v["width"] = static_cast<double>(image_->info().levels[0].width);
        v["height"] = static_cast<double>(image_->info().levels[0].height);
    }
    QJsonObject layers, folder;
    for (const auto& l : layers_)
        layers[l.id] = QJsonObject{{"visible", l.visible},     {"opacity", l.opacity},
                                   {"title", l.title},         {"band", l.band},
                                   {"threshold", l.threshold}, {"shares", sharesOf(l)}};
    for (const auto& image : imagesPanel_->images())
        folder[QFileInfo(image).fileName()] = imagesPanel_->stateOf(image);
    v["layers"] = layers;
    v["annotations"] =
        QJsonObject{{"count", static_cast<int>(annotations_->all().size())},
                    {"selected", annotations_->find(annotations_->selected())
                                     ? measureText(*annotations_->find(annotations_->selected()))
                                     : QString()}};
    v["contexts"] = QJsonObject{{"shown", contextsPanel_->shown()},
                                {"all", loaded_ ? static_cast<int>(loaded_->tiles.size()) : 0}};
    v["folder"] = folder;
    if (const Job* job = runs_->running()) v["done"] = static_cast<double>(job->progress.done);
    return v;
}

}  // namespace atlas::ui
