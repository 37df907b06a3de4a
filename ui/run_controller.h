// SPDX-License-Identifier: Apache-2.0
// Runs jobs one after another in a thread of its own: one image or a whole folder. GUI thread.
#pragma once

#include <QObject>
#include <QTimer>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/classify_run.h"

namespace atlas::ui {

struct Job {
    int number = 0;
    engine::RunRequest request;
    engine::RunProgress progress;
    engine::RunOutcome outcome;
    bool waiting = true;
    bool finished() const {
        return !waiting && outcome.state != engine::RunState::Planning && ended;
    }
    bool ended = false;
};

class RunController : public QObject {
    Q_OBJECT

  public:
    explicit RunController(std::shared_ptr<io::TileCache> cache, QObject* parent = nullptr);
    ~RunController() override;

    /// Queues a job; returns its number.
    int enqueue(const engine::RunRequest& request);
    /// Stops the running job (what is done is kept) or takes a waiting one out.
    void cancel(int number);
    void cancelAll();
    const std::vector<Job>& jobs() const { return jobs_; }
    const Job* running() const;
    bool busy() const { return running() != nullptr; }

    /// The layers of the running job so far; null if there are none.
    std::shared_ptr<const engine::RunLayers> snapshot() const;
    void setFocus(double x, double y);

    /// Writes image, state, contexts, seconds, most frequent class, folder and error of every job.
    /// Returns an error text, or an empty one.
    static QString writeSummary(const std::vector<Job>& jobs, const std::filesystem::path& csv);

    /// Asks the network of `request` something in the background, one question at a time: `work`
    /// runs in a thread and returns what is then done in the GUI thread; questionFailed says why
    /// there is no answer (a run is going on, or what `work` threw).
    using Answer = std::function<void()>;
    using Question = std::function<Answer(const engine::Classifier&, std::stop_token)>;
    /// Where `failed` is given it is called instead of questionFailed.
    using Failed = std::function<void(const QString&)>;
    void ask(const engine::RunRequest& request, Question work, Failed failed = {});
    /// Of the question that is being asked; its answer then still arrives, as `work` has it.
    void stopAsking();
    bool asking() const { return asking_; }

  Q_SIGNALS:
    void jobChanged(int number);
    void jobFinished(int number);
    void queueFinished();
    void askingChanged();
    void questionFailed(QString error);

  private:
    void startNext();
    void onProgress(int number, const engine::RunProgress& progress);
    void onFinished(int number, const engine::RunOutcome& outcome);
    std::shared_ptr<engine::Classifier> classifierFor(const engine::RunRequest& request);

    std::shared_ptr<io::TileCache> cache_;
    std::vector<Job> jobs_;
    std::shared_ptr<engine::ClassifyRun> current_;
    int currentNumber_ = -1;
    std::jthread worker_, asker_;
    bool asking_ = false;
    std::mutex modelMutex_;    ///< guards the four below
    std::mutex forwardMutex_;  ///< one forward pass at a time
    std::shared_ptr<engine::Classifier> model_;
    std::string modelKey_;
};

}  // namespace atlas::ui
