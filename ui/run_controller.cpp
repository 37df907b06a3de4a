// SPDX-License-Identifier: Apache-2.0
#include "ui/run_controller.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <locale>

#include "engine/pipeline/trust.h"

namespace atlas::ui {
namespace {

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text)
        result += c == '"' ? std::string("\"\"") : std::string(1, c == '\n' ? ' ' : c);
    return result + "\"";
}

std::string commonestClass(const std::filesystem::path& folder) {
    try {
        const auto run = engine::loadRun(folder);
        std::vector<int64_t> counts(run.classNames.size());
        for (float value : run.layers.classes.values)
            if (!std::isnan(value) && static_cast<size_t>(value) < counts.size())
                ++counts[static_cast<size_t>(value)];
        return run.classNames.at(
            static_cast<size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin()));
    } catch (const std::exception&) {
        return {};  // the column stays empty; the error column of the job says why
    }
}

}  // namespace

RunController::RunController(std::shared_ptr<io::TileCache> cache, QObject* parent)
    : QObject(parent), cache_(std::move(cache)) {}

RunController::~RunController() {
    worker_.request_stop();
    if (worker_.joinable()) worker_.join();
    asker_.request_stop();
    if (asker_.joinable()) asker_.join();
}

int RunController::enqueue(const engine::RunRequest& request) {
    Job job;
    job.number = static_cast<int>(jobs_.size());
    job.request = request;
    jobs_.push_back(job);
    Q_EMIT jobChanged(job.number);
    if (!busy()) startNext();
    return job.number;
}

const Job* RunController::running() const {
    return currentNumber_ >= 0 ? &jobs_[static_cast<size_t>(currentNumber_)] : nullptr;
}

void RunController::cancel(int number) {
    if (number == currentNumber_) {
        worker_.request_stop();
        return;
    }
    auto& job = jobs_[static_cast<size_t>(number)];
    if (!job.waiting) return;
    job.waiting = false;
    job.ended = true;
    job.outcome.state = job.progress.state = engine::RunState::Cancelled;
    Q_EMIT jobChanged(number);
}

void RunController::cancelAll() {
    for (size_t i = jobs_.size(); i-- > 0;)
        if (!jobs_[i].ended) cancel(static_cast<int>(i));
}

std::shared_ptr<const engine::RunLayers> RunController::snapshot() const {
    return current_ ? current_->snapshot() : nullptr;
}

void RunController::setFocus(double x, double y) {
    if (current_) current_->setFocus(x, y);
}

std::shared_ptr<engine::Classifier> RunController::classifierFor(
    const engine::RunRequest& request) {
    const std::lock_guard lock(modelMutex_);
    const std::string key =
        request.modelDir.string() + "|" + request.device + "|" + request.precision;
    if (!model_ || key != modelKey_) {
        model_ = engine::Classifier::open(request.modelDir, engine::classifierOptions(request));
        modelKey_ = key;
    }
    return model_;
}

void RunController::startNext() {
    const auto next =
        std::find_if(jobs_.begin(), jobs_.end(), [](const Job& j) { return j.waiting; });
    if (next == jobs_.end()) {
        if (!jobs_.empty()) Q_EMIT queueFinished();
        return;
    }
    next->waiting = false;
    currentNumber_ = next->number;
    const int number = next->number;
    current_ = std::make_shared<engine::ClassifyRun>(next->request, cache_);
    if (worker_.joinable()) worker_.join();
    worker_ = std::jthread([this, run = current_, number](const std::stop_token& stop) {
        const std::lock_guard forward(forwardMutex_);
        const auto outcome = run->run(stop, [this, number](const engine::RunProgress& progress) {
            QMetaObject::invokeMethod(
                this, [this, number, progress] { onProgress(number, progress); },
                Qt::QueuedConnection);
        });
        QMetaObject::invokeMethod(
            this, [this, number, outcome] { onFinished(number, outcome); }, Qt::QueuedConnection);
    });
    Q_EMIT jobChanged(number);
}

void RunController::onProgress(int number, const engine::RunProgress& progress) {
    jobs_[static_cast<size_t>(number)].progress = progress;
    Q_EMIT jobChanged(number);
}

void RunController::onFinished(int number, const engine::RunOutcome& outcome) {
    auto& job = jobs_[static_cast<size_t>(number)];
    job.outcome = outcome;
    job.progress.state = outcome.state;
    job.progress.error = outcome.error;
    job.ended = true;
    currentNumber_ = -1;
    current_.reset();
    Q_EMIT jobChanged(number);
    Q_EMIT jobFinished(number);
    startNext();
}

QString RunController::writeSummary(const std::vector<Job>& jobs,
                                    const std::filesystem::path& csv) {
    std::error_code error;
    std::filesystem::create_directories(csv.parent_path(), error);
    const auto temporary = csv.string() + ".tmp";
    std::ofstream file(temporary);
    file.imbue(std::locale::classic());  // decimal points in every locale
    file << "image,state,contexts,seconds,most_frequent_class,folder,error,warnings\n";
    for (const auto& job : jobs) {
        if (!job.ended) continue;
        const auto& o = job.outcome;
        file << quoted(job.request.image) << ',' << engine::runStateName(o.state) << ','
             << o.contexts << ',' << o.seconds << ','
             << quoted(o.folder.empty() ? "" : commonestClass(o.folder)) << ','
             << quoted(o.folder.string()) << ',' << quoted(o.error) << ','
             << quoted(engine::findingCodes(o.findings)) << '\n';
    }
    file.close();
    if (file) std::filesystem::rename(temporary, csv, error);
    return file && !error ? QString()
                          : QString::fromStdString(csv.string() + ": cannot be written");
}

void RunController::ask(const engine::RunRequest& request, Question work, Failed failed) {
    if (!failed) failed = [this](const QString& error) { Q_EMIT questionFailed(error); };
    if (busy() || asking_) {
        failed(busy() ? tr("The network is busy with a run: ask again when it is done.")
                      : tr("The network is still busy with the last question."));
        return;
    }
    if (asker_.joinable()) asker_.join();
    asking_ = true;
    Q_EMIT askingChanged();
    asker_ = std::jthread([this, request, work = std::move(work),
                           failed = std::move(failed)](const std::stop_token& stop) {
        QString error;
        Answer answer;
        try {
            const auto classifier = classifierFor(request);
            const std::lock_guard forward(forwardMutex_);
            answer = work(*classifier, stop);
        } catch (const std::exception& problem) {
            error = QString::fromUtf8(problem.what());
        }
        QMetaObject::invokeMethod(
            this,
            [this, answer, error, failed] {
                asking_ = false;
                if (answer) answer();
                Q_EMIT askingChanged();
                if (!error.isEmpty()) failed(error);
            },
            Qt::QueuedConnection);
    });
}

void RunController::stopAsking() {
    asker_.request_stop();
}

}  // namespace atlas::ui
