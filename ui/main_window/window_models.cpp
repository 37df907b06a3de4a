// SPDX-License-Identifier: Apache-2.0
// MainWindow: the Models page, trying a model out, and two of them compared on one region.
#include <QPointer>
#include <QStatusBar>

#include "engine/pipeline/model_library.h"
#include "engine/pipeline/trust.h"
#include "ui/dialogs/models_page.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {

void MainWindow::openModels(const QStringList& added) {
    auto* page = findChild<ModelsPage*>("models.dialog");
    if (!page) {
        page = new ModelsPage(runPanel_->models(), options_.userModels, this);
        page->setAttribute(Qt::WA_DeleteOnClose);
        connect(page, &ModelsPage::modelsChanged, this, [this, page] {
            std::vector<std::filesystem::path> models;
            for (const auto& model : page->models()) models.emplace_back(model.toStdString());
            const QString before = QString::fromStdString(runPanel_->modelDir().string());
            runPanel_->setModels(models);
            runPanel_->chooseModel(before);
        });
        connect(page, &ModelsPage::useAsked, this, [this, page](const QString& model) {
            runPanel_->chooseModel(model);
            page->accept();
        });
        connect(page, &ModelsPage::validateAsked, this,
                [this, page](const QString& model) { validateModel(model, page); });
        connect(page, &ModelsPage::compareAsked, this,
                [this, page](const QString& first, const QString& second) {
                    page->accept();
                    compareModels(first.toStdString(), second.toStdString());
                });
    }
    page->open();
    if (!added.isEmpty()) page->add(added);
}

void MainWindow::validateModel(const QString& model, ModelsPage* page) {
    engine::RunRequest request = options_.defaults;
    request.modelDir = model.toStdString();
    const auto show = [this, model,
                       page = QPointer<ModelsPage>(page)](const engine::ModelCheck& check) {
        if (page) page->showCheck(model, check);
    };
    try {
        if (!mayRun(request)) return show({false, tr("it is not trusted").toStdString(), 0, 0, {}});
    } catch (const std::exception& error) {
        return show({false, error.what(), 0, 0, {}});
    }
    const int question = runs_->ask(
        request,
        [show](const engine::Classifier& network, const std::stop_token&) {
            return [show, check = engine::checkModel(network)] { show(check); };
        },
        [show](const QString& problem) {
            show({false, problem.toStdString(), 0, 0, {}});
        });
    // Nobody waits for it any more when the page is closed.
    connect(page, &QDialog::finished, this, [this, question] { runs_->forget(question); });
}

void MainWindow::compareModels(const std::filesystem::path& first,
                               const std::filesystem::path& second) {
    if (!image_) return showMessage(tr("Open an image first: two models are compared on it."));
    QRectF area = canvas_->region();
    if (area.isEmpty()) area = canvas_->transform().visibleImageRect();
    const QRect box = area.toAlignedRect();
    modelsCompared_.clear();
    try {
        std::vector<engine::RunRequest> requests;
        for (const auto& model : {second, first}) {  // the first is shown, and so runs last
            engine::RunRequest request = requestFor(path_);
            request.modelDir = model;
            request.wholeImage = false;
            request.region = io::Rect{box.x(), box.y(), box.width(), box.height()};
            if (!mayRun(request)) return;
            requests.push_back(request);
        }
        for (const auto& model : {first, second}) engine::loadModelConfig(model);  // throws
        const int next = static_cast<int>(runs_->jobs().size());
        modelsCompared_ = {next, next + 1};
        for (const auto& request : requests) runs_->enqueue(request);
        followJob(runs_->jobs()[static_cast<size_t>(next) + 1]);
        statusBar()->showMessage(tr("Two models run over the same region …"));
    } catch (const std::exception& error) {
        showMessage(QString::fromUtf8(error.what()));
    }
}

/// Where both runs are there the last one is shown, and then the difference.
void MainWindow::showModelsCompared(int finished) {
    const Job job = runs_->jobs()[static_cast<size_t>(finished)];
    tellEnd(job);
    if (finished != modelsCompared_.back()) return;
    const auto other = runs_->jobs()[static_cast<size_t>(modelsCompared_.front())].outcome;
    modelsCompared_.clear();
    if (job.outcome.folder.empty()) return;
    shownRequest_ = job.request;
    hasShownRequest_ = true;
    showRun(job.outcome.folder, [this, other] {
        if (!other.error.empty())
            showMessage(QString::fromStdString(other.error));
        else if (!other.folder.empty())
            compareWith(other.folder);
    });
}

}  // namespace atlas::ui
