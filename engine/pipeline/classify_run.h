// SPDX-License-Identifier: Apache-2.0
// One model over one image: plan, read, prepare, forward, stitch, publish. A plain object; attach
// a thread from outside.
//
//     engine::ClassifyRun run(request, cache);
//     engine::RunOutcome outcome = run.run(stopToken, [](const engine::RunProgress& p) { ... });
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_folder.h"

namespace atlas::engine {

struct RunOutcome {
    RunState state = RunState::Failed;
    std::string error;             ///< for Failed: a sentence with path and cause
    std::filesystem::path folder;  ///< published run folder; the .partial one when cancelled
    bool alreadyThere = false;     ///< the same run had been published before
    int64_t contexts = 0;
    double seconds = 0;
    std::vector<std::string> warnings;
    std::vector<Finding>
        findings;  ///< why the answers may be wrong; warnings are in `warnings` too
    std::string mostFrequentClass;  ///< by area; empty where nothing was classified
    int64_t unreadableParts = 0;    ///< tiles, strips or blocks of the file that gave no pixels

    /// "done", "done before", "done, 4 parts unreadable", "failed" ...
    std::string stateText() const;
};

class ClassifyRun {
  public:
    using Report = std::function<void(const RunProgress&)>;

    /// `classifier` may be shared between runs one after another; opened from the request's model
    /// folder where it is null.
    ClassifyRun(RunRequest request, std::shared_ptr<io::TileCache> cache,
                std::shared_ptr<Classifier> classifier = nullptr);
    ~ClassifyRun();

    /// Never throws. Goes on from the journal of a killed or cancelled run with the same inputs.
    RunOutcome run(std::stop_token stop, const Report& report);

    /// Contexts nearest to this level-0 position come first from now on. Any thread.
    void setFocus(double x, double y);

    /// The layers so far: never changed once given out, the same object as long as nothing is
    /// answered; null before the plan is made and for whole images. Any thread; may copy rasters,
    /// so not one that draws.
    std::shared_ptr<const RunLayers> snapshot() const;

    /// The model, once it is open; else null. Any thread.
    std::shared_ptr<Classifier> classifier() const;

  private:
    class Work;
    RunRequest request_;
    std::shared_ptr<io::TileCache> cache_;
    mutable std::mutex mutex_;
    std::shared_ptr<Classifier> classifier_;
    std::shared_ptr<Stitcher> stitcher_;
    std::atomic<double> focusX_{-1}, focusY_{-1};
};

}  // namespace atlas::engine
