// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/classify_run.h"

#include "engine/pipeline/trust.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/pipeline/batch_size.h"
#include "engine/pipeline/context_reader.h"
#include "engine/pipeline/group_reader.h"
#include "engine/pipeline/guards.h"
#include "engine/pipeline/journal.h"
#include "engine/pipeline/model_input.h"
#include "engine/pipeline/run_claim.h"
#include "engine/pipeline/run_identity.h"
#include "engine/pipeline/run_settings.h"
#include "engine/pipeline/suitability.h"
#include "engine/pipeline/whole_run.h"

namespace atlas::engine {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr int64_t kDamageNote = -1;  // in the journal, in place of a context

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
        if (isPublished()) return publishedBefore();
        claim_ =
            RunClaim::take(claimFolder_, [this](const std::string& who) { return waitFor(who); });
        if (!claim_) return cancelled({});
        progress_.waitingFor.clear();
        if (isPublished()) return publishedBefore();  // by whom this one waited for
        fs::create_directories(partial_);
        takeSettings();
        if (owner_.request_.wholeImage) return wholeImage();
        prepare();
        classify();
        return publish(*stitcher_->snapshot());
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
        record_.findings = suitability(*image_, record_.model, owner_.request_);
        progress_.findings = record_.findings;
        record_.device = classifier_->deviceReason();
        record_.versions = image_->info().reader + ", " + classifier_->versions();
        record_.startedAt = timeNow();
        record_.warnings = image_->info().warnings;
        for (const auto& line : classifier_->warnings()) record_.warnings.push_back(line);
        record_.sourceFingerprint = sourceFingerprint(owner_.request_.image);
        record_.modelSha256 = fileSha256(weightsFile(owner_.request_.modelDir));
        record_.runId = runIdOf(record_, image_->settings());
        const fs::path root = runRoot(owner_.request_.out, owner_.request_.image);
        published_ = root / record_.runId;
        partial_ = root / (record_.runId + ".partial");
        claimFolder_ = root / (record_.runId + ".claim");
        progress_.input = modelInputLine(image_->info(), image_->settings(), &record_.model);
        progress_.mask = record_.plan.mask;
        progress_.total = static_cast<int64_t>(record_.plan.contexts.size());
        progress_.state = RunState::Running;
        report_(progress_);
    }

    bool isPublished() const { return fs::exists(published_ / "run.json"); }

    RunOutcome publishedBefore() {
        RunOutcome outcome;
        outcome.state = RunState::Done;
        outcome.folder = published_;
        outcome.alreadyThere = true;
        outcome.contexts = progress_.done = progress_.total;
        const RunSummary summary = readRunSummary(published_);
        outcome.mostFrequentClass = summary.mostFrequentClass;
        outcome.unreadableParts = summary.unreadableParts;
        outcome.warnings = summary.warnings;
        outcome.findings = record_.findings;
        progress_.state = RunState::Done;
        report_(progress_);
        return outcome;
    }

    /// Another process writes this run; false when this one is stopped.
    bool waitFor(const std::string& who) {
        if (progress_.waitingFor != who) {
            progress_.waitingFor = who;
            report_(progress_);
        }
        return !stop_.stop_requested();
    }

    /// Groups of contexts are fixed by the plan and the run's settings, so that the network is
    /// given the same contexts at once whatever is read first and however often a run is resumed.
    void prepare() {
        stitcher_ =
            std::make_shared<Stitcher>(record_.plan, record_.model, owner_.request_.attention);
        results_.resize(record_.plan.contexts.size());
        finished_.assign(results_.size(), false);
        std::vector<bool> answered(results_.size(), false);
        journal_ = std::make_unique<Journal>(
            partial_, claim_->token(), [&](int64_t index, const ContextResult& result) {
                if (index == kDamageNote) damageBefore_ += damageIn(result);
                if (index >= 0 && static_cast<size_t>(index) < answered.size())
                    answered[static_cast<size_t>(index)] = true;
            });
        const auto size = static_cast<size_t>(record_.contextsAtOnce);
        for (size_t first = 0; first < results_.size(); first += size) {
            const ContextGroup group{first, std::min(first + size, results_.size())};
            bool whole = true;
            for (size_t i = group.first; i < group.last; ++i) whole = whole && answered[i];
            if (!whole) groups_.push_back(group);
            for (size_t i = group.first; whole && i < group.last; ++i) {
                ContextResult result = journal_->read(static_cast<int64_t>(i));
                stitcher_->add(record_.plan.contexts[i], result);
                keep(i, std::move(result));
            }
        }
        resumed_ = progress_.done;
        const std::lock_guard lock(owner_.mutex_);
        owner_.stitcher_ = stitcher_;
    }

    /// As the run was begun, so that a resumed run forms the same groups and computes in the same
    /// precision, whatever `auto` would choose by now.
    void takeSettings() {
        const BatchPlan plan = planBatches(owner_.request_, *classifier_);
        const RunSettings settings =
            keepSettings(partial_ / "settings.json", {plan.contexts, plan.precision});
        record_.contextsAtOnce = owner_.request_.wholeImage ? 1 : settings.contextsAtOnce;
        if (settings.precision == classifier_->precision()) return;
        ClassifierOptions options = classifierOptions(owner_.request_);
        options.precision = settings.precision;
        classifier_ = Classifier::open(owner_.request_.modelDir, options);
        record_.device = progress_.device = classifier_->deviceReason();
    }

    /// A context may be answered again, by the same answer; it counts once.
    void keep(size_t index, ContextResult result) {
        result.received.clear();  // the stitcher has them
        result.mass.clear();
        result.segments.clear();
        results_[index] = std::move(result);
        if (finished_[index]) return;
        finished_[index] = true;
        ++progress_.done;
    }

    /// To what the user looks at, in level-0 pixels squared; the order of the plan where that is
    /// not known.
    double distanceOf(const ContextGroup& group) const {
        const double fx = owner_.focusX_, fy = owner_.focusY_;
        if (fx < 0) return static_cast<double>(group.first);
        const auto& c = record_.plan.contexts[group.first];
        const double dx = c.x + record_.plan.contextWidth / 2 - fx,
                     dy = c.y + record_.plan.contextHeight / 2 - fy;
        return dx * dx + dy * dy;
    }

    ContextBox boxOf(size_t index) const {
        const auto& context = record_.plan.contexts[index];
        return {context.x, context.y, record_.plan.contextWidth, record_.plan.contextHeight};
    }

    /// For the guards.
    void notice(const ReadGroup& read) {
        for (size_t i = 0; i < read.pixels.size(); ++i) {
            data_.add(image_->info(), boxOf(read.group.first + i), read.pixels[i]);
        }
    }

    void classify() {
        const auto begin = Clock::now();
        GroupReader reader(
            std::move(groups_),
            [this](size_t index) {
                return readContext(*image_, record_.model, boxOf(index), record_.plan.contextPx);
            },
            [this](const ContextGroup& group) { return distanceOf(group); });
        ReadGroup read;
        while (!stop_.stop_requested() && reader.next(read)) {
            notice(read);
            auto results = classifySome(read.pixels);
            claim_->check();
            for (size_t i = 0; i < results.size(); ++i) {
                const size_t index = read.group.first + i;
                journal_->append(static_cast<int64_t>(index), results[i]);
                stitcher_->add(record_.plan.contexts[index], results[i]);
                keep(index, std::move(results[i]));
            }
            noteDamage();
            reportSpeed(secondsSince(begin), reader.secondsWaited());
        }
        if (progress_.done == progress_.total && stitcher_->dependsOnOrder()) addInOrder();
    }

    /// What of the file could not be read is remembered for a run that is resumed, since what was
    /// answered is not read again.
    void noteDamage() {
        const int64_t now = image_->source()->unreadableParts();
        if (now <= damageNoted_) return;
        ContextResult note;
        note.probabilities = {static_cast<float>(now - damageNoted_)};
        journal_->append(kDamageNote, note);
        damageNoted_ = now;
    }
    static int64_t damageIn(const ContextResult& note) {
        if (note.probabilities.size() != 1 || !(note.probabilities[0] >= 0)) return 0;
        return std::llround(std::min(note.probabilities[0], 1e9f));
    }

    /// Sums of overlapping contexts are taken in the order of the plan, so that the same run gives
    /// the same bytes whatever was answered first.
    void addInOrder() {
        stitcher_->startAgain();
        for (size_t i = 0; i < results_.size(); ++i)
            stitcher_->add(record_.plan.contexts[i], journal_->read(static_cast<int64_t>(i)));
        stitcher_->thaw();
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

    void reportSpeed(double seconds, double waited) {
        const double count = static_cast<double>(progress_.done - resumed_);
        progress_.contextsPerSecond = count / seconds;
        progress_.megapixelsPerSecond =
            count * record_.plan.contextWidth * record_.plan.contextHeight / 1e6 / seconds;
        progress_.secondsLeft = static_cast<double>(progress_.total - progress_.done) /
                                std::max(1e-9, progress_.contextsPerSecond);
        progress_.bottleneck = waited > 0.5 * seconds ? "reading" : "network";
        report_(progress_);
    }

    struct Cancelled {};

    /// One context. Cancelled, it goes on from its last checkpoint another time.
    RunOutcome wholeImage() {
        const auto begin = Clock::now();
        // What a writer that may wake up has open is not gone on with.
        if (claim_->formerOwnerMayWake()) fs::remove_all(partial_ / "tokens");
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
            claim_->check();
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
            return cancelled(partial_);
        }
    }

    RunOutcome cancelled(const fs::path& folder) {
        RunOutcome outcome;
        outcome.state = progress_.state = RunState::Cancelled;
        outcome.folder = folder;
        outcome.seconds = secondsSince(start_);
        report_(progress_);
        return outcome;
    }

    RunOutcome publish(const RunLayers& layers) {
        const bool complete = progress_.done == progress_.total;
        progress_.state = RunState::Publishing;
        report_(progress_);
        record_.state = complete ? RunState::Done : RunState::Cancelled;
        record_.seconds = secondsSince(start_);
        for (const auto& line : image_->source()->damage()) record_.warnings.push_back(line);
        record_.unreadableParts = damageBefore_ + image_->source()->unreadableParts();
        if (damageBefore_ > 0)
            record_.warnings.push_back(std::to_string(damageBefore_) +
                                       " parts of the image could not be read before this run was "
                                       "resumed; some may be counted twice");
        for (size_t i = 0; i < results_.size(); ++i)
            if (!results_[i].probabilities.empty())
                record_.rows.push_back(
                    {record_.plan.contexts[i], results_[i].probabilities, results_[i].meanMass});
        mergeFindings(record_.findings, guardFindings(record_, data_.without()));
        for (auto& line : warningTexts(record_.findings))
            record_.warnings.push_back(std::move(line));
        if (complete && record_.rows.empty())
            throw std::runtime_error(
                owner_.request_.image +
                (image_->source()->unreadableParts() > 0
                     ? ": no part of the image could be read"
                     : ": no data was found in the region: every pixel is marked as missing"));
        claim_->check();
        writeRunFiles(partial_, record_, layers, *image_);
        RunOutcome outcome;
        outcome.state = record_.state;
        outcome.folder = partial_;
        outcome.contexts = static_cast<int64_t>(record_.rows.size());
        outcome.seconds = record_.seconds;
        outcome.warnings = record_.warnings;
        outcome.mostFrequentClass = mostFrequentClass(record_, layers);
        outcome.unreadableParts = record_.unreadableParts;
        outcome.findings = record_.findings;
        if (complete) {
            journal_.reset();
            claim_->check();
            Journal::remove(partial_);
            fs::remove(partial_ / "settings.json");
            fs::rename(partial_, published_);
            outcome.folder = published_;
        }
        progress_.state = outcome.state;
        progress_.secondsLeft = 0;
        report_(progress_);
        return outcome;
    }

    DataShare data_;
    ClassifyRun& owner_;
    std::stop_token stop_;
    const Report& report_;
    Clock::time_point start_;
    RunProgress progress_;
    RunRecord record_;
    fs::path published_, partial_, claimFolder_;
    std::unique_ptr<RunClaim> claim_;
    std::shared_ptr<const io::ColorSource> image_;
    std::shared_ptr<Classifier> classifier_;
    std::shared_ptr<Stitcher> stitcher_;
    std::unique_ptr<Journal> journal_;
    std::vector<ContextGroup> groups_;  ///< those that are not answered whole
    std::vector<ContextResult> results_;
    std::vector<bool> finished_;
    int64_t resumed_ = 0;
    int64_t damageBefore_ = 0,
            damageNoted_ = 0;  ///< unreadable parts: before it was resumed; since
    size_t most_ = 0;          ///< contexts at once after memory was short; 0: as planned
    Clock::time_point reported_;
};

std::string RunOutcome::stateText() const {
    std::string text = runStateName(state);
    if (alreadyThere) text += " before";
    if (unreadableParts > 0)
        text += ", " + std::to_string(unreadableParts) +
                (unreadableParts == 1 ? " part unreadable" : " parts unreadable");
    return text;
}

ClassifyRun::ClassifyRun(RunRequest request, std::shared_ptr<io::TileCache> cache,
                         std::shared_ptr<Classifier> classifier)
    : request_(std::move(request)), cache_(std::move(cache)), classifier_(std::move(classifier)) {}

ClassifyRun::~ClassifyRun() = default;

RunOutcome ClassifyRun::run(std::stop_token stop, const Report& report) {
    std::string cause;
    std::vector<Finding> findings;
    try {
        return Work(*this, std::move(stop), report).go();
    } catch (const Unsuitable& error) {
        cause = error.what();
        findings = {error.finding};
    } catch (const std::exception& error) {
        cause = error.what();
    } catch (...) {
        cause = request_.image + ": an unknown error";
    }
    RunOutcome outcome;
    outcome.error = cause;
    outcome.findings = findings;
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

std::shared_ptr<const RunLayers> ClassifyRun::snapshot() const {
    std::shared_ptr<Stitcher> stitcher;
    {
        const std::lock_guard lock(mutex_);
        stitcher = stitcher_;
    }
    return stitcher ? stitcher->snapshot() : nullptr;
}

std::shared_ptr<Classifier> ClassifyRun::classifier() const {
    const std::lock_guard lock(mutex_);
    return classifier_;
}

}  // namespace atlas::engine
