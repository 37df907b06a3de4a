// SPDX-License-Identifier: Apache-2.0
// MainWindow: what is run, and what is shown of it while it goes on. A run belongs to its image.
#include <QFileInfo>
#include <QMessageBox>
#include <QPushButton>
#include <QStatusBar>
#include <algorithm>

#include "engine/pipeline/model_input.h"
#include "engine/pipeline/trust.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {

std::filesystem::path MainWindow::outFor(const QString& image) const {
    return project_ ? std::filesystem::path(project_->runsFolder().toStdString()) : besideOf(image);
}

/// Where runs of an image lie: those of a project's image, then those that were made beside it
/// before.
std::vector<std::filesystem::path> MainWindow::outsOf(const QString& image) const {
    std::vector<std::filesystem::path> outs{outFor(image)};
    if (project_) outs.push_back(besideOf(image));
    return outs;
}

std::filesystem::path MainWindow::besideOf(const QString& image) const {
    const QFileInfo file(image);
    if (file.exists() && QFileInfo(file.absolutePath()).isWritable())
        return file.absolutePath().toStdString();
    return options_.userData / "results";
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

void MainWindow::showModelInput() {
    inputs_.forgetAll();
    if (!image_) return;
    const auto show = [this](const QString& line) { runPanel_->showInput(line); };
    try {
        inputs_.start(
            "input", {},
            [show, source = image_->source(), dir = runPanel_->modelDir(),
             choice = runPanel_->inputChoice(), cache = cache_](const std::stop_token&) {
                const auto input =
                    engine::openModelInput(source, engine::loadModelConfig(dir), choice, cache);
                const auto line = engine::modelInputLine(input->info(), input->settings());
                return Background::Then(
                    [show, text = QString::fromStdString(line)] { show(text); });
            },
            show);
    } catch (const std::exception& error) {
        show(QString::fromUtf8(error.what()));
    }
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
        engine::loadModelConfig(request.modelDir);  // throws where there is no model
        if (!mayRun(request)) return;
        const int number = runs_->enqueue(request);
        followJob(runs_->jobs()[static_cast<size_t>(number)]);
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

/// The window shows this job of its image from now on: its layers while it goes on, then its run.
void MainWindow::followJob(const Job& job) {
    if (job.number == followed_) return;
    followed_ = job.number;
    dropRun();
    shownRequest_ = job.request;
    hasShownRequest_ = true;
    liveJob_ = job.number;
    try {
        look_ = ModelLook::of(engine::loadModelConfig(job.request.modelDir));
        setExplorerModel(job.request.modelDir);
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
    showResolution();
    applyLayers();
    const Job* running = runs_->running();
    if (!running || running->number != job.number) return;
    const QPointF centre = canvas_->transform().centre();
    runs_->setFocus(centre.x(), centre.y());
    liveTimer_.start();
}

/// In the Run panel: the job of the image that is shown, and what is done elsewhere.
void MainWindow::showJob() {
    if (!image_) return;
    const Job* running = runs_->running();
    const auto isHere = [this](const Job* job) {
        return job && QString::fromStdString(job->request.image) == path_;
    };
    const Job* own = isHere(running) ? running : runs_->newestOf(path_.toStdString());
    QString elsewhere;
    if (running && !isHere(running))
        elsewhere =
            tr("%1: %2").arg(QFileInfo(QString::fromStdString(running->request.image)).fileName(),
                             jobText(*running));
    runPanel_->showJob(own, elsewhere);
}

void MainWindow::onJobChanged(int number) {
    const Job& job = runs_->jobs()[static_cast<size_t>(number)];
    const QString image = QString::fromStdString(job.request.image);
    lastJobState_ = QString::fromUtf8(engine::runStateName(job.progress.state));
    const bool done = job.ended && job.outcome.state == engine::RunState::Done;
    imagesPanel_->setState(image, job.ended && !done ? lastJobState_ : jobText(job), jobText(job));
    if (!job.progress.device.empty())
        deviceText_->setText(QString::fromStdString(job.progress.device));
    showJob();
    const bool compared = !modelsCompared_.empty() && number == modelsCompared_.front();
    if (!image_ || image != path_ || compared || runs_->running() != &job) return;
    followJob(job);
    if (liveJob_ == number && !liveTimer_.isActive()) liveTimer_.start();
}

void MainWindow::onJobFinished(int number) {
    const Job job = runs_->jobs()[static_cast<size_t>(number)];
    if (liveJob_ == number) {
        liveTimer_.stop();
        live_.forgetAll();
    }
    if (!image_ || QString::fromStdString(job.request.image) != path_) return;
    if (std::count(modelsCompared_.begin(), modelsCompared_.end(), number))
        return showModelsCompared(number);
    tellEnd(job);
    if (job.outcome.folder.empty()) return;
    shownRequest_ = job.request;
    hasShownRequest_ = true;
    showRun(job.outcome.folder);
}

/// Once, over its image: why it failed, or what to look at twice.
void MainWindow::tellEnd(const Job& job) {
    if (!job.ended || !told_.insert(job.number).second) return;
    const bool ofFolder =
        std::find(folderJobs_.begin(), folderJobs_.end(), job.number) != folderJobs_.end();
    if (!job.outcome.error.empty()) {
        if (!ofFolder) showMessage(QString::fromStdString(job.outcome.error));
        return;
    }
    const auto& known = image_->info().warnings;
    QStringList notes;
    for (const auto& warning : job.outcome.warnings)
        if (!std::count(known.begin(), known.end(), warning))
            notes << QString::fromStdString(warning);
    if (!notes.isEmpty()) showMessage(tr("Look twice: %1").arg(notes.join("; ")));
}

void MainWindow::writeFolderSummary() {
    if (folderJobs_.empty()) return;
    std::vector<Job> jobs;
    for (int number : folderJobs_) jobs.push_back(runs_->jobs()[static_cast<size_t>(number)]);
    folderJobs_.clear();
    const auto csv =
        outFor(QString::fromStdString(jobs.front().request.image)) / "atlasscope-summary.csv";
    work_.start(
        "summary", tr("Writing the summary …"),
        [this, jobs, csv](const std::stop_token&) -> Background::Then {
            const QString error = RunController::writeSummary(jobs, csv);
            const auto done = std::count_if(jobs.begin(), jobs.end(), [](const Job& j) {
                return j.outcome.state == engine::RunState::Done;
            });
            const QString text = error.isEmpty() ? tr("%1 of %2 images done. Summary: %3")
                                                       .arg(done)
                                                       .arg(jobs.size())
                                                       .arg(QString::fromStdString(csv.string()))
                                                 : error;
            return [this, text] { showMessage(text); };
        },
        [this](const QString& error) { showMessage(error); });
}

/// The layers so far are fetched in a thread, one time after another, and put here.
void MainWindow::refreshLive() {
    const Job* job = runs_->running();
    if (!image_ || !job || job->number != liveJob_) return;
    const QPointF centre = canvas_->transform().centre();
    runs_->setFocus(centre.x(), centre.y());
    if (live_.busy() || look_.classNames.isEmpty()) return;
    const auto& full = image_->info().levels[0];
    const io::Rect area = job->request.region.value_or(io::Rect{0, 0, full.width, full.height});
    live_.start(
        "live", {},
        [this, snapshot = runs_->snapshot(), look = look_, before = layers_, last = liveLayers_,
         asked = subject(), area](const std::stop_token&) -> Background::Then {
            const auto results = snapshot ? snapshot() : nullptr;
            if (!results || results == last) return {};
            auto made = makeLayers(results, look, before, area);
            return [this, results, made = std::move(made), asked] {
                if (asked != subject()) return;
                liveLayers_ = results;
                putLayers(made);
            };
        },
        [this](const QString& error) { showMessage(error); });
}

}  // namespace atlas::ui
