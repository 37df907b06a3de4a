// SPDX-License-Identifier: Apache-2.0
#include "ui/run_controller.h"

#include <algorithm>
#include <fstream>
#include <locale>
#include <stdexcept>

#include "engine/pipeline/trust.h"

namespace atlas::ui {
namespace {

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text)
        result += c == '"' ? std::string("\"\"") : std::string(1, c == '\n' ? ' ' : c);
    return result + "\"";
}

/// Lets a question that nobody waits for any more end at its next pass through the network.
class UntilStopped : public engine::Classifier {
  public:
    UntilStopped(const engine::Classifier& network, std::stop_token stop)
        : network_(network), stop_(std::move(stop)) {}

    const engine::ModelConfig& config() const override { return network_.config(); }
    std::string deviceReason() const override { return network_.deviceReason(); }
    bool isOnProcessor() const override { return network_.isOnProcessor(); }
    std::string versions() const override { return network_.versions(); }
    std::vector<engine::ContextResult> classify(const std::vector<engine::ContextPixels>& contexts,
                                                bool attention) const override {
        check();
        return network_.classify(contexts, attention);
    }
    engine::ContextAnalysis analyse(const engine::ContextPixels& context,
                                    const engine::AnalysisRequest& request) const override {
        check();
        return network_.analyse(context, request);
    }
    engine::WholeResult classifyWhole(const engine::WholeImage& image,
                                      const engine::WholeOptions& options,
                                      const engine::WholeProgress& progress) const override {
        check();
        return network_.classifyWhole(image, options, progress);
    }

  private:
    void check() const {
        if (stop_.stop_requested()) throw std::runtime_error("the question was withdrawn");
    }
    const engine::Classifier& network_;
    std::stop_token stop_;
};

}  // namespace

RunController::RunController(std::shared_ptr<io::TileCache> cache, QObject* parent)
    : QObject(parent), cache_(std::move(cache)) {
    connect(&questions_, &Background::problem, this, &RunController::questionFailed);
}

RunController::~RunController() {
    end();
}

void RunController::end() {
    for (auto& job : jobs_) job.waiting = false;
    worker_.request_stop();
    questions_.forgetAll();
    questions_.end();
    if (worker_.joinable()) worker_.join();
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

const Job* RunController::newestOf(const std::string& image) const {
    const auto found = std::find_if(jobs_.rbegin(), jobs_.rend(),
                                    [&](const Job& job) { return job.request.image == image; });
    return found == jobs_.rend() ? nullptr : &*found;
}

RunController::Snapshot RunController::snapshot() const {
    if (!current_) return {};
    return [run = current_] { return run->snapshot(); };
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
             << o.contexts << ',' << o.seconds << ',' << quoted(o.mostFrequentClass) << ','
             << quoted(o.folder.string()) << ',' << quoted(o.error) << ','
             << quoted(engine::findingCodes(o.findings)) << '\n';
    }
    file.close();
    if (file) std::filesystem::rename(temporary, csv, error);
    return file && !error ? QString()
                          : QString::fromStdString(csv.string() + ": cannot be written");
}

int RunController::ask(const engine::RunRequest& request, Question work, Failed failed) {
    if (!failed) failed = [this](const QString& error) { Q_EMIT questionFailed(error); };
    if (busy() || asking()) {
        failed(busy() ? tr("The network is busy with a run: ask again when it is done.")
                      : tr("The network is still busy with the last question."));
        return 0;
    }
    stopOfAsked_ = std::stop_source();
    const auto over = [this] {
        question_ = 0;
        Q_EMIT askingChanged();
    };
    question_ = questions_.start(
        "question", {},
        [this, request, over, work = std::move(work),
         stopped = stopOfAsked_](const std::stop_token& withdrawn) -> Background::Then {
            auto stop = stopped;
            const std::stop_callback both(withdrawn, [&stop] { stop.request_stop(); });
            const auto classifier = classifierFor(request);
            const std::lock_guard forward(forwardMutex_);
            const auto answer = work(UntilStopped(*classifier, withdrawn), stop.get_token());
            return [over, answer] {
                over();
                answer();
            };
        },
        [over, failed](const QString& error) {
            over();
            failed(error);
        });
    Q_EMIT askingChanged();
    return question_;
}

void RunController::stopAsking() {
    stopOfAsked_.request_stop();
}

void RunController::forget(int question) {
    if (question == 0 || question != question_) return;
    questions_.forget(question);
    question_ = 0;
    Q_EMIT askingChanged();
}

}  // namespace atlas::ui
