// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/classify_run.h"

#include "engine/pipeline/trust.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/nn/atlas_cost.h"
#include "engine/pipeline/context_reader.h"
#include "engine/pipeline/guards.h"
#include "engine/pipeline/journal.h"
#include "engine/pipeline/model_input.h"
#include "engine/pipeline/whole_run.h"

namespace atlas::engine {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr size_t kReaders = 2;
constexpr size_t kBatchesAhead = 2;
constexpr double kBatchFlops = 45e9;

double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string timeNow() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

constexpr int kBackboneBatch = 4;

/// As many contexts as a laptop's processor runs in about a third of a second: small networks are
/// faster side by side, large ones should not keep their first result back.
int batchSize(const RunRequest& request, const ModelConfig& model) {
    if (request.batch > 0) return request.batch;
    if (!model.isAtlas()) return kBackboneBatch;
    const double flops = atlasCost(model.network, model.patchSizePx).total();
    return static_cast<int>(std::clamp(kBatchFlops / flops, 1.0, 16.0));
}

struct ReadBatch {
    std::vector<size_t> contexts;  // of the plan
    std::vector<ContextPixels> pixels;
};

}  // namespace

/// The state of one call of run().
class ClassifyRun::Work {
  public:
    Work(ClassifyRun& owner, std::stop_token stop, const Report& report)
        : owner_(owner), stop_(std::move(stop)), report_(report) {}

    RunOutcome go() {
        start_ = Clock::now();
        report_(progress_);
        open();
        plan();
        if (fs::exists(published_ / "run.json")) return publishedBefore();
        fs::create_directories(partial_);
        if (owner_.request_.wholeImage) return wholeImage();
        prepare();
        classify();
        return publish(stitcher_->layers());
    }

  private:
    void open() {
        const auto& request = owner_.request_;
        const auto source = io::openImage(request.image, request.open);
        classifier_ = owner_.classifier();
        if (!classifier_) {
            classifier_ = Classifier::open(request.modelDir, classifierOptions(request));
            const std::lock_guard lock(owner_.mutex_);
            owner_.classifier_ = classifier_;
        }
        image_ = openModelInput(source, classifier_->config(), request.input, owner_.cache_);
        progress_.device = classifier_->deviceReason();
    }

    void plan() {
        record_.request = owner_.request_;
        record_.model = classifier_->config();
        record_.plan = planRun(*image_, record_.model, owner_.request_);
        record_.device = classifier_->deviceReason();
        record_.versions = image_->info().reader + ", " + classifier_->versions();
        record_.startedAt = timeNow();
        record_.warnings = image_->info().warnings;
        record_.sourceFingerprint = sourceFingerprint(owner_.request_.image);
        record_.modelSha256 = fileSha256(weightsFile(owner_.request_.modelDir));
        record_.runId = runId();
        const fs::path root = runRoot(owner_.request_.out, owner_.request_.image);
        published_ = root / record_.runId;
        partial_ = root / (record_.runId + ".partial");
        progress_.input = modelInputLine(image_->info(), image_->settings());
        progress_.total = static_cast<int64_t>(record_.plan.contexts.size());
        progress_.state = RunState::Running;
        report_(progress_);
    }

    /// Follows from everything that the results depend on.
    std::string runId() const {
        const auto& r = owner_.request_;
        const auto& p = record_.plan;
        const auto& d = image_->settings();
        return derivedUuid(
            nlohmann::json{{"source", record_.sourceFingerprint},
                           {"model", record_.modelSha256},
                           {"config", nlohmann::json::parse(record_.model.networkText())},
                           {"overlap", r.overlap},
                           {"mask", r.mask},
                           {"attention", r.attention},
                           {"context", r.wholeImage ? "whole" : "model"},
                           {"precision", r.precision},
                           {"um", {p.umPerPixelX, p.umPerPixelY}},
                           {"region", {p.region.x, p.region.y, p.region.width, p.region.height}},
                           {"bands", d.bands},
                           {"stretch", static_cast<int>(d.stretch)},
                           {"range", d.range},
                           {"alpha", static_cast<int>(r.open.alpha)}}
                .dump());
    }

    RunOutcome publishedBefore() {
        RunOutcome outcome;
        outcome.state = RunState::Done;
        outcome.folder = published_;
        outcome.alreadyThere = true;
        outcome.contexts = progress_.done = progress_.total;
        progress_.state = RunState::Done;
        report_(progress_);
        return outcome;
    }

    void prepare() {
        auto stitcher =
            std::make_shared<Stitcher>(record_.plan, record_.model, owner_.request_.attention);
        results_.resize(record_.plan.contexts.size());
        finished_.assign(results_.size(), false);
        journal_ = std::make_unique<Journal>(
            partial_ / "journal", [&](int64_t index, ContextResult result) {
                if (index < 0 || static_cast<size_t>(index) >= results_.size()) return;
                stitcher->add(record_.plan.contexts[static_cast<size_t>(index)], result);
                keep(static_cast<size_t>(index), std::move(result));
            });
        resumed_ = progress_.done;
        const auto size = static_cast<size_t>(batchSize(owner_.request_, record_.model));
        std::vector<size_t> batch;
        for (size_t i = 0; i < results_.size(); ++i) {
            if (!finished_[i]) batch.push_back(i);
            if (batch.size() == size || (i + 1 == results_.size() && !batch.empty()))
                waiting_.push_back(std::exchange(batch, {}));
        }
        stitcher_ = stitcher;
        const std::lock_guard lock(owner_.mutex_);
        owner_.stitcher_ = stitcher;
    }

    void keep(size_t index, ContextResult result) {
        result.received.clear();  // the stitcher has them
        result.mass.clear();
        result.segments.clear();
        results_[index] = std::move(result);
        finished_[index] = true;
        ++progress_.done;
    }

    /// The batch nearest to what the user looks at. Holds the mutex.
    std::vector<size_t> takeNearest() {
        auto best = waiting_.begin();
        const double fx = owner_.focusX_, fy = owner_.focusY_;
        if (fx >= 0) {
            double least = std::numeric_limits<double>::max();
            for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
                const auto& c = record_.plan.contexts[it->front()];
                const double dx = c.x + record_.plan.contextWidth / 2 - fx,
                             dy = c.y + record_.plan.contextHeight / 2 - fy;
                if (dx * dx + dy * dy < least) {
                    least = dx * dx + dy * dy;
                    best = it;
                }
            }
        }
        std::vector<size_t> batch = std::move(*best);
        waiting_.erase(best);
        return batch;
    }

    void read(const std::stop_token& end) {
        for (;;) {
            ReadBatch batch;
            {
                std::unique_lock lock(mutex_);
                if (!changed_.wait(lock, end, [&] { return ready_.size() < kBatchesAhead; }))
                    return;
                if (waiting_.empty()) return;
                batch.contexts = takeNearest();
                ++inFlight_;
            }
            try {
                for (size_t index : batch.contexts)
                    batch.pixels.push_back(
                        readContext(*image_, record_.model, boxOf(index), record_.plan.contextPx));
            } catch (...) {
                const std::lock_guard lock(mutex_);
                failure_ = std::current_exception();
                --inFlight_;
                changed_.notify_all();
                return;
            }
            const std::lock_guard lock(mutex_);
            --inFlight_;
            for (size_t i = 0; i < batch.pixels.size(); ++i)
                notice(batch.contexts[i], batch.pixels[i]);
            ready_.push_back(std::move(batch));
            changed_.notify_all();
        }
    }

    ContextBox boxOf(size_t index) const {
        const auto& context = record_.plan.contexts[index];
        return {context.x, context.y, record_.plan.contextWidth, record_.plan.contextHeight};
    }

    /// For the guards. Holds the mutex.
    void notice(size_t index, const ContextPixels& pixels) {
        colours_.add(pixels);
        data_.add(image_->info(), boxOf(index), pixels);
    }

    bool next(ReadBatch& batch) {
        std::unique_lock lock(mutex_);
        const auto from = Clock::now();
        changed_.wait(lock, [&] {
            return !ready_.empty() || failure_ || (waiting_.empty() && inFlight_ == 0);
        });
        waited_ += secondsSince(from);
        if (failure_) std::rethrow_exception(failure_);
        if (ready_.empty()) return false;
        batch = std::move(ready_.front());
        ready_.pop_front();
        changed_.notify_all();
        return true;
    }

    void classify() {
        const auto begin = Clock::now();
        std::vector<std::jthread> readers;
        for (size_t i = 0; i < kReaders; ++i)
            readers.emplace_back([this](const std::stop_token& end) { read(end); });
        ReadBatch batch;
        while (!stop_.stop_requested() && next(batch)) {
            const auto results = classifySome(batch.pixels);
            for (size_t i = 0; i < results.size(); ++i) {
                const size_t index = batch.contexts[i];
                journal_->append(static_cast<int64_t>(index), results[i]);
                stitcher_->add(record_.plan.contexts[index], results[i]);
                keep(index, results[i]);
            }
            reportSpeed(secondsSince(begin));
        }
        for (auto& reader : readers) reader.request_stop();
        changed_.notify_all();
    }

    /// Halves the batch where memory is short, down to one context, and then leaves the GPU.
    std::vector<ContextResult> classifySome(const std::vector<ContextPixels>& pixels) {
        if (most_ == 0 || pixels.size() <= most_) try {
                return classifier_->classify(pixels, owner_.request_.attention);
            } catch (const OutOfMemory& error) {
                stepDown(pixels.size(), error);
            }
        std::vector<ContextResult> results;
        for (size_t first = 0, last = 0; first < pixels.size(); first = last) {
            last = std::min(first + most_, pixels.size());  // most_ may shrink meanwhile
            auto part = classifySome({pixels.begin() + static_cast<std::ptrdiff_t>(first),
                                      pixels.begin() + static_cast<std::ptrdiff_t>(last)});
            std::move(part.begin(), part.end(), std::back_inserter(results));
        }
        return results;
    }

    void stepDown(size_t size, const OutOfMemory& error) {
        if (size > 1) {
            most_ = (size + 1) / 2;
            record_.warnings.push_back("out of memory with " + std::to_string(size) +
                                       " contexts at once: went on with " + std::to_string(most_));
            return;
        }
        most_ = 1;
        goToProcessor("one context", error);
    }

    /// Throws where it is there already.
    void goToProcessor(const std::string& what, const OutOfMemory& error) {
        record_.warnings.insert(record_.warnings.end(), error.tried.begin(), error.tried.end());
        if (classifier_->isOnProcessor())
            throw std::runtime_error(owner_.request_.image + ": not enough memory for " + what +
                                     ": " + error.what());
        ClassifierOptions options = classifierOptions(owner_.request_);
        options.device = "cpu";
        classifier_ = Classifier::open(owner_.request_.modelDir, options);
        record_.device = progress_.device = classifier_->deviceReason();
        record_.warnings.push_back("the device has too little memory for " + what +
                                   ": went on on the processor");
    }

    void reportSpeed(double seconds) {
        const double count = static_cast<double>(progress_.done - resumed_);
        progress_.contextsPerSecond = count / seconds;
        progress_.megapixelsPerSecond =
            count * record_.plan.contextWidth * record_.plan.contextHeight / 1e6 / seconds;
        progress_.secondsLeft = static_cast<double>(progress_.total - progress_.done) /
                                std::max(1e-9, progress_.contextsPerSecond);
        progress_.bottleneck = waited_ > 0.5 * seconds ? "reading" : "network";
        report_(progress_);
    }

    struct Cancelled {};

    /// One context. Cancelled, it goes on from its last checkpoint another time.
    RunOutcome wholeImage() {
        const auto begin = Clock::now();
        double first = -1;
        const auto progress = [&](const char* part, double done) {
            if (stop_.stop_requested()) throw Cancelled{};
            if (first < 0) first = done;
            const double seconds = secondsSince(begin);
            progress_.fraction = done;
            progress_.bottleneck = part;
            if (done > first + 0.002) {
                progress_.secondsLeft = seconds * (1 - done) / (done - first);
                progress_.megapixelsPerSecond =
                    static_cast<double>(record_.plan.wholeWidthPx * record_.plan.wholeHeightPx) *
                    (done - first) / 1e6 / seconds;
            }
            if (secondsSince(reported_) < 0.1) return;
            reported_ = Clock::now();
            report_(progress_);
        };
        const auto classify = [&] {
            for (;;) try {
                    return classifyWholeImage(*image_, *classifier_, partial_ / "tokens",
                                              record_.runId + " " + ATLASSCOPE_VERSION, progress,
                                              record_);
                } catch (const OutOfMemory& error) {
                    goToProcessor("the whole image", error);
                }
        };
        try {
            const RunLayers layers = classify();
            std::error_code ignored;
            fs::remove(partial_ / "tokens", ignored);
            progress_.done = progress_.total;
            return publish(layers);
        } catch (const Cancelled&) {
            RunOutcome outcome;
            outcome.state = progress_.state = RunState::Cancelled;
            outcome.folder = partial_;
            outcome.seconds = secondsSince(start_);
            report_(progress_);
            return outcome;
        }
    }

    RunOutcome publish(const RunLayers& layers) {
        const bool complete = progress_.done == progress_.total;
        progress_.state = RunState::Publishing;
        report_(progress_);
        record_.state = complete ? RunState::Done : RunState::Cancelled;
        record_.seconds = secondsSince(start_);
        for (const auto& line : image_->source()->damage()) record_.warnings.push_back(line);
        for (size_t i = 0; i < results_.size(); ++i)
            if (!results_[i].probabilities.empty())
                record_.rows.push_back(
                    {record_.plan.contexts[i], results_[i].probabilities, results_[i].meanMass});
        {
            const std::lock_guard lock(mutex_);
            for (auto& line : guardWarnings(record_, colours_, data_.without()))
                record_.warnings.push_back(std::move(line));
        }
        if (complete && record_.rows.empty())
            throw std::runtime_error(owner_.request_.image +
                                     ": no part of the image could be read");
        writeRunFiles(partial_, record_, layers, *image_);
        RunOutcome outcome;
        outcome.state = record_.state;
        outcome.folder = partial_;
        outcome.contexts = static_cast<int64_t>(record_.rows.size());
        outcome.seconds = record_.seconds;
        outcome.warnings = record_.warnings;
        if (complete) {
            journal_.reset();
            fs::remove(partial_ / "journal");
            fs::rename(partial_, published_);
            outcome.folder = published_;
        }
        progress_.state = outcome.state;
        progress_.secondsLeft = 0;
        report_(progress_);
        return outcome;
    }

    ColourStatistics colours_;
    DataShare data_;
    ClassifyRun& owner_;
    std::stop_token stop_;
    const Report& report_;
    Clock::time_point start_;
    RunProgress progress_;
    RunRecord record_;
    fs::path published_, partial_;
    std::shared_ptr<const io::ColorSource> image_;
    std::shared_ptr<Classifier> classifier_;
    std::shared_ptr<Stitcher> stitcher_;
    std::unique_ptr<Journal> journal_;
    std::vector<ContextResult> results_;
    std::vector<bool> finished_;
    int64_t resumed_ = 0;
    size_t most_ = 0;  ///< contexts at once after memory was short; 0: as planned
    Clock::time_point reported_;
    double waited_ = 0;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<std::vector<size_t>> waiting_;
    std::deque<ReadBatch> ready_;
    size_t inFlight_ = 0;
    std::exception_ptr failure_;
};

ClassifyRun::ClassifyRun(RunRequest request, std::shared_ptr<io::TileCache> cache,
                         std::shared_ptr<Classifier> classifier)
    : request_(std::move(request)), cache_(std::move(cache)), classifier_(std::move(classifier)) {}

ClassifyRun::~ClassifyRun() = default;

RunOutcome ClassifyRun::run(std::stop_token stop, const Report& report) {
    std::string cause;
    try {
        return Work(*this, std::move(stop), report).go();
    } catch (const std::exception& error) {
        cause = error.what();
    } catch (...) {
        cause = request_.image + ": an unknown error";
    }
    RunOutcome outcome;
    outcome.error = cause;
    RunProgress progress;
    progress.state = RunState::Failed;
    progress.error = cause;
    report(progress);
    return outcome;
}

void ClassifyRun::setFocus(double x, double y) {
    focusX_ = x;
    focusY_ = y;
}

bool ClassifyRun::snapshot(RunLayers& layers) const {
    std::shared_ptr<Stitcher> stitcher;
    {
        const std::lock_guard lock(mutex_);
        stitcher = stitcher_;
    }
    if (!stitcher) return false;
    layers = stitcher->layers();
    return true;
}

std::shared_ptr<Classifier> ClassifyRun::classifier() const {
    const std::lock_guard lock(mutex_);
    return classifier_;
}

}  // namespace atlas::engine
