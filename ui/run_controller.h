// SPDX-License-Identifier: Apache-2.0
// Runs jobs one after another in a thread of its own: one image or a whole folder. A job belongs to
// its image, whatever the window shows meanwhile. GUI thread.
#pragma once

#include <QObject>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/classify_run.h"
#include "ui/background.h"

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

    /// Cancels and forgets everything, and waits until the threads have ended.
    void end();

    /// Queues a job; returns its number.
    int enqueue(const engine::RunRequest& request);
    /// Stops the running job (what is done is kept) or takes a waiting one out.
    void cancel(int number);
    void cancelAll();
    const std::vector<Job>& jobs() const { return jobs_; }
    const Job* running() const;
    bool busy() const { return running() != nullptr; }
    /// The newest job of an image; nullptr where it had none.
    const Job* newestOf(const std::string& image) const;

    /// Gets the layers of the running job so far, in any thread; nullptr where there are none yet.
    /// An empty function while no job runs.
    using Snapshot = std::function<std::shared_ptr<const engine::RunLayers>()>;
    Snapshot snapshot() const;
    /// Contexts of the running job that lie nearest to this place of its image come first.
    void setFocus(double x, double y);

    /// Writes image, state, contexts, seconds, most frequent class, folder and error of every job.
    /// Returns an error text, or an empty one. Reads no raster. Any thread.
    static QString writeSummary(const std::vector<Job>& jobs, const std::filesystem::path& csv);

    /// Asks the network of `request` something in the background, one question at a time: `work`
    /// runs in a thread and returns what is then done in the GUI thread; questionFailed says why
    /// there is no answer (a run is going on, or what `work` threw). Returns the question's number,
    /// or 0 where it was not asked.
    using Answer = std::function<void()>;
    using Question = std::function<Answer(const engine::Classifier&, std::stop_token)>;
    /// Where `failed` is given it is called instead of questionFailed.
    using Failed = std::function<void(const QString&)>;
    int ask(const engine::RunRequest& request, Question work, Failed failed = {});
    /// Of the question that is being asked; its answer then still arrives, as `work` has it.
    void stopAsking();
    /// Stops a question at its next pass through the network and drops its answer and its failure:
    /// nothing more is heard of it, and the next question may be asked at once.
    void forget(int question);
    bool asking() const { return question_ != 0; }
    /// Threads of questions that have not ended, those of forgotten ones among them.
    size_t questionThreads() const { return questions_.threads(); }
    /// Sees the work of questions; for tests.
    void setWatch(const Background::Watch& watch) { questions_.setWatch(watch); }

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
    std::jthread worker_;
    std::mutex modelMutex_;    ///< guards model_ and modelKey_
    std::mutex forwardMutex_;  ///< one forward pass at a time
    std::shared_ptr<engine::Classifier> model_;
    std::string modelKey_;
    int question_ = 0;              ///< whose answer is awaited; 0: none
    std::stop_source stopOfAsked_;  ///< what stopAsking() stops
    Background questions_;
};

}  // namespace atlas::ui
