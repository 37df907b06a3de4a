// SPDX-License-Identifier: Apache-2.0
// MainWindow: finished runs. They are read in threads; the window shows what it has meanwhile.
#include <QFileInfo>
#include <QMenu>
#include <QStatusBar>
#include <algorithm>

#include "engine/pipeline/compare_runs.h"
#include "ui/dialogs/comparison_page.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {
namespace {

constexpr size_t kRunsOffered = 12;

std::shared_ptr<const engine::RunLayers> layersOf(
    const std::shared_ptr<const engine::LoadedRun>& run) {
    return {run, &run->layers};
}

std::vector<std::filesystem::path> foldersOf(const std::vector<std::filesystem::path>& outs,
                                             const QString& image) {
    std::vector<std::filesystem::path> folders;
    for (const auto& out : outs)
        for (const auto& folder : engine::findRuns(out, image.toStdString()))
            folders.push_back(folder);
    return folders;
}

/// Model and time. Throws where the run is not whole.
QString runTitle(const std::filesystem::path& folder) {
    const QFileInfo file(QString::fromStdString((folder / "run.json").string()));
    return QString("%1, %2").arg(QString::fromStdString(engine::runModelName(folder)),
                                 QLocale().toString(file.lastModified(), QLocale::ShortFormat));
}

}  // namespace

struct MainWindow::RunsRead {
    struct Offered {
        std::filesystem::path folder;
        QString title;
    };
    std::vector<Offered> offered;  ///< newest first
    size_t found = 0;
    std::filesystem::path folder;                  ///< of `run`
    std::shared_ptr<const engine::LoadedRun> run;  ///< nullptr: none, or `error` says why
    ModelLook look;
    std::vector<OverlayLayer> layers;
    QString error;

    /// What lies in the folders; reads no raster.
    void list(const std::vector<std::filesystem::path>& outs, const QString& image) {
        const auto folders = foldersOf(outs, image);
        found = folders.size();
        if (folder.empty() && !folders.empty()) folder = folders.front();
        for (size_t i = 0; i < std::min(folders.size(), kRunsOffered); ++i) try {
                offered.push_back({folders[i], runTitle(folders[i])});
            } catch (const std::exception&) {
                continue;  // not whole: nothing to show
            }
    }
    void read(const std::vector<OverlayLayer>& before) try {
        if (folder.empty()) return;
        run = std::make_shared<const engine::LoadedRun>(engine::loadRun(folder));
        look = ModelLook::of(*run);
        layers = makeLayers(layersOf(run), look, before, run->region);
    } catch (const std::exception& cause) {
        run.reset();
        error = QString::fromUtf8(cause.what());
    }
};

/// Nothing that was asked of the run that is shown arrives any more.
void MainWindow::leaveRun() {
    ++subject_.run;
    runs_->forget(std::exchange(question_, 0));
    live_.forgetAll();
    liveTimer_.stop();
    liveJob_ = -1;
    work_.forget(loadTask_);
    work_.forget(compareTask_);
    flow_ = {};
    explorer_->clearAnswers();
    forgetProbe();
}

/// ... and nothing of it is shown.
void MainWindow::dropRun() {
    leaveRun();
    layers_.clear();
    look_ = {};
    hasShownRequest_ = false;
    loaded_.reset();
    liveLayers_.reset();
    allClasses_.reset();
    shownRun_.clear();
    contextsPanel_->clear();
}

void MainWindow::showRun(const std::filesystem::path& folder, const std::function<void()>& then) {
    leaveRun();
    const bool newest = folder.empty();
    loadTask_ = work_.start(
        "load", newest ? tr("Looking for earlier runs …") : tr("Loading the run …"),
        [this, folder, then, outs = outsOf(path_), image = path_,
         before = layers_](const std::stop_token&) -> Background::Then {
            auto read = std::make_shared<RunsRead>();
            read->folder = folder;
            read->list(outs, image);
            read->read(before);
            return [this, read, then] {
                applyRun(*read);
                if (then) then();
            };
        },
        [this](const QString& error) { showMessage(error); });
}

void MainWindow::applyRun(const RunsRead& read) {
    if (!read.error.isEmpty()) showMessage(read.error);
    if (read.run) {
        const engine::RunRequest base = hasShownRequest_ ? shownRequest_ : requestFor(path_);
        leaveRun();
        look_ = read.look;
        loaded_ = read.run;
        shownRequest_ = read.run->sameContexts(base);
        hasShownRequest_ = true;
        showResolution();
        setExplorerModel(read.run->modelDir);
        shownRun_ = read.folder;
        showTiles();
        putLayers(read.layers);
    }
    fillRuns(read);
}

/// What the menus offer of the runs beside the image, newest first.
void MainWindow::fillRuns(const RunsRead& read) {
    runsMenu_->clear();
    compareMenu_->clear();
    for (const auto& [folder, title] : read.offered) {
        auto* show =
            runsMenu_->addAction(title, this, [this, folder = folder] { showRun(folder); });
        show->setCheckable(true);
        show->setChecked(folder == shownRun_);
        if (folder != shownRun_)
            compareMenu_->addAction(title, this, [this, folder = folder] { compareWith(folder); });
    }
    runsMenu_->setEnabled(!runsMenu_->isEmpty());
    compareMenu_->setEnabled(!compareMenu_->isEmpty());
}

/// The job of the image that goes on, else its newest run; `visible`: layers of a session.
void MainWindow::restoreRuns(const QJsonArray& visible) {
    followed_ = -1;
    showJob();
    const Job* running = runs_->running();
    const Job* job = runs_->newestOf(path_.toStdString());
    if (running && QString::fromStdString(running->request.image) == path_) job = running;
    if (job && !job->ended) {
        followJob(*job);
        work_.start("list", {},
                    [this, outs = outsOf(path_), image = path_,
                     asked = subject().image](const std::stop_token&) -> Background::Then {
                        auto read = std::make_shared<RunsRead>();
                        read->list(outs, image);
                        return [this, read, asked] {
                            if (asked == subject().image) fillRuns(*read);
                        };
                    },
                    {});
        return;
    }
    if (job) tellEnd(*job);
    showRun({}, [this, visible] {
        if (!visible.isEmpty()) {
            for (auto& l : layers_) l.visible = visible.contains(l.id);
            applyLayers();
        }
        const auto found = runsMenu_->actions().size();
        if (!loaded_) return;
        statusBar()->showMessage(
            found > 1
                ? tr("The newest of %1 runs is shown; the others are in the Run menu.").arg(found)
                : tr("The run found beside the image is shown."),
            8000);
    });
}

void MainWindow::compareWith(const std::filesystem::path& folder) {
    if (!loaded_) return showMessage(tr("Show a run first: it is compared with another one."));
    work_.forget(compareTask_);
    compareTask_ = work_.start(
        "compare", tr("Comparing two runs …"),
        [this, folder, first = loaded_,
         shown = shownRun_](const std::stop_token&) -> Background::Then {
            const auto second = engine::loadRun(folder);
            const auto comparison =
                std::make_shared<engine::RunComparison>(engine::compareRuns(*first, second));
            OverlayLayer l;
            l.id = "difference";
            l.title = tr("difference");
            l.kind = OverlayLayer::Kind::Classes;
            l.raster = {comparison, &comparison->difference};
            l.classNames = {tr("same"), tr("differs")};
            l.colors = {QColor(0, 158, 115), QColor(213, 94, 0)};
            l.opacity = 0.6;
            l.visible = true;
            l.measureAreas(io::intersect(first->region, second.region));
            return [this, comparison, l, titles = std::pair{runTitle(shown), runTitle(folder)}] {
                std::erase_if(layers_,
                              [](const OverlayLayer& old) { return old.id == "difference"; });
                layers_.push_back(l);
                if (auto* prediction = layer("prediction")) prediction->visible = false;
                layersPanel_->select("difference");
                applyLayers();
                explorerValues_["agreement"] = comparison->agreement();
                auto* page = new ComparisonPage(*comparison, titles.first, titles.second, this);
                page->setAttribute(Qt::WA_DeleteOnClose);
                page->open();
            };
        },
        [this](const QString& error) { showMessage(error); });
}

void MainWindow::showTiles() {
    annotationsPanel_->offerClasses(look_.classNames, look_.classColors);
    allClasses_ = {loaded_, &loaded_->layers.classes};
    double um2 = 0;  // the image's own pixels, whatever the run was given
    if (const auto& own = image_->info().resolution)
        um2 = own->umPerPixelX * own->umPerPixelY;
    else if (shownRequest_.resolutionUm)
        um2 = *shownRequest_.resolutionUm * *shownRequest_.resolutionUm;
    contextsPanel_->setTiles(loaded_->tiles, loaded_->areas(), look_, um2, image_);
}

/// What reads the layers of the newest run over another image, in any thread.
std::function<std::vector<OverlayLayer>()> MainWindow::layersOver(const QString& image) const {
    return [outs = outsOf(image), image]() -> std::vector<OverlayLayer> {
        RunsRead read;
        read.list(outs, image);
        read.read({});
        return read.layers;  // without any, the other image is shown all the same
    };
}

}  // namespace atlas::ui
