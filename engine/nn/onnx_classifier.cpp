// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/onnx_classifier.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>
#include <random>

#include "engine/nn/answers_only.h"
#include "engine/nn/context_batch.h"
#include "engine/nn/model_error.h"
#include "engine/nn/onnx_runtime.h"
#include "engine/nn/side_by_side.h"

namespace atlas::engine {
namespace {

constexpr float kSumTolerance = 1e-3f;
constexpr int64_t kGroup = 4;  // images that one thread gives to the network at once, at most
// A session for calls that are alone costs the memory of the weights and the time of opening the
// file again.
constexpr int kThreadsWorthASession = 4;
constexpr int64_t kMostBands = 4096;

/// Scores of the classes of one place, `stride` apart: softmax, or sigmoid of a single one, unless
/// they are probabilities already.
struct Scores {
    bool probabilities;
    void normalise(float* first, size_t classes, size_t stride) const {
        if (probabilities) return;
        if (classes == 1) {
            *first = 1 / (1 + std::exp(-*first));
            return;
        }
        float most = *first, sum = 0;
        for (size_t c = 1; c < classes; ++c) most = std::max(most, first[c * stride]);
        for (size_t c = 0; c < classes; ++c)
            sum += first[c * stride] = std::exp(first[c * stride] - most);
        for (size_t c = 0; c < classes; ++c) first[c * stride] /= sum;
    }
};

/// Whether an output [B, K, places] holds probabilities: none below 0 or above 1, and for more than
/// one class each place's sum 1.
bool areProbabilities(const std::vector<float>& values, size_t classes, size_t places) {
    for (size_t i = 0; i < values.size(); i += classes * places)
        for (size_t p = 0; p < places; ++p) {
            float sum = 0;
            for (size_t c = 0; c < classes; ++c) {
                const float v = values[i + c * places + p];
                if (!(v >= 0 && v <= 1)) return false;
                sum += v;
            }
            if (classes > 1 && std::abs(sum - 1) > kSumTolerance) return false;
        }
    return true;
}

class OnnxClassifier : public AnswersOnly {
  public:
    OnnxClassifier(const std::filesystem::path& file, ModelConfig config,
                   const ClassifierOptions& options)
        : file_(file), config_(std::move(config)), session_(file, 1) {
        setThreads(options.threads);
        if (options.device != "auto" && options.device != "cpu")
            throw ModelError(file.string() + ": ONNX models run on the processor here");
        const auto& shape = session_.inputShape();
        const int64_t side = config_.patchSizePx;
        if (shape.size() != 4 || shape[1] == 0 || shape[1] > kMostBands ||
            (shape[2] >= 0 && shape[2] != side) || (shape[3] >= 0 && shape[3] != side))
            throw ModelError(file.string() + ": its input is not [B, bands, " +
                             std::to_string(side) + ", " + std::to_string(side) + "]");
        setInput(shape[1] > 0 ? shape[1] : 3);
        fixedBatch_ = shape[0] > 0 ? shape[0] : 0;
        scores_.probabilities = givesProbabilities();
    }

    const ModelConfig& config() const override { return config_; }
    bool isOnProcessor() const override { return true; }
    std::string deviceReason() const override {
        return "CPU (ONNX Runtime " + onnxRuntimeVersion() + "), float32";
    }
    std::string versions() const override { return "ONNX Runtime " + onnxRuntimeVersion(); }

    std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                        bool) const override {
        std::vector<ContextResult> results(contexts.size());
        std::vector<size_t> usable;
        for (size_t i = 0; i < contexts.size(); ++i)
            if (anyValid(contexts[i])) usable.push_back(i);
        // Of a network with a fixed batch, a unit is one of its batches.
        const auto count = static_cast<int64_t>(usable.size()),
                   unit = fixedBatch_ ? fixedBatch_ : int64_t{1},
                   most = fixedBatch_ ? int64_t{1} : kGroup;
        sideBySide((count + unit - 1) / unit, most, [&](int64_t first, int64_t last) {
            some(contexts,
                 {usable.begin() + first * unit, usable.begin() + std::min(last * unit, count)},
                 results);
        });
        return results;
    }

  private:
    void some(const std::vector<ContextPixels>& contexts, const std::vector<size_t>& which,
              std::vector<ContextResult>& results) const {
        const auto side = static_cast<size_t>(config_.patchSizePx);
        const size_t plane = side * side;
        const size_t batch = fixedBatch_ ? static_cast<size_t>(fixedBatch_) : which.size();
        std::vector<float> input(batch * bands() * plane);
        for (size_t i = 0; i < which.size(); ++i)
            fill(contexts[which[i]], &input[i * bands() * plane]);
        auto output = run(input, batch);
        const bool segments = config_.segmentSide > 0;
        const size_t classes = outputs(), places = segments ? plane : 1;
        for (size_t i = 0; i < which.size(); ++i) {
            float* first = &output[i * classes * places];
            for (size_t p = 0; p < places; ++p) scores_.normalise(first + p, classes, places);
            segments ? keepMap(contexts[which[i]], first, classes, results[which[i]])
                     : keep(first, classes, results[which[i]]);
        }
    }

    /// Of one thread where others compute other images meanwhile, or where there are not many.
    const OnnxSession& session() const {
        if (isSideBySide() || threadsInUse() < kThreadsWorthASession) return session_;
        std::call_once(madeForAll_, [&] { forAll_.emplace(file_, threadsInUse()); });
        return *forAll_;
    }

    size_t outputs() const { return config_.singleLogit ? 1 : config_.classNames.size(); }

    /// The raw output [B, K] or [B, K, S, S] of normalised images, of the shape that it must have.
    std::vector<float> run(std::vector<float>& input, size_t batch) const {
        const auto side = static_cast<size_t>(config_.patchSizePx), classes = outputs();
        const bool segments = config_.segmentSide > 0;
        auto output = session().run(input, {static_cast<int64_t>(batch), config_.inputBands,
                                            config_.patchSizePx, config_.patchSizePx});
        const auto& shape = output.shape;
        const auto wanted = [&](size_t dimension, size_t value) {
            return shape[dimension] == static_cast<int64_t>(value);
        };
        if (shape.size() != (segments ? 4u : 2u) || !wanted(0, batch) || !wanted(1, classes) ||
            (segments && (!wanted(2, side) || !wanted(3, side))))
            throw ModelError(file_.string() + ": its output is not [B, " + std::to_string(classes) +
                             (segments ? ", S, S] with S = " + std::to_string(side) : "]"));
        return std::move(output.values);
    }

    /// The same for every context: asked of ever stronger noise at the start, not of each batch,
    /// where small scores may look like probabilities by chance.
    bool givesProbabilities() const {
        const auto plane = static_cast<size_t>(config_.patchSizePx * config_.patchSizePx);
        const size_t batch = fixedBatch_ ? static_cast<size_t>(fixedBatch_) : 1;
        std::minstd_rand random(1);
        std::vector<float> input(batch * bands() * plane);
        for (float strength : {1e1f, 1e2f, 1e3f, 1e4f}) {
            for (auto& v : input) v = (static_cast<float>(random() % 2001) / 1000 - 1) * strength;
            const auto output = run(input, batch);
            if (std::any_of(output.begin(), output.end(), [](float v) { return std::isnan(v); }))
                continue;  // too strong for this network: says nothing
            if (!areProbabilities(output, outputs(), config_.segmentSide > 0 ? plane : 1))
                return false;
        }
        return true;
    }

    /// One class: its probability and that of its absence, so that every place has an answer.
    static void keep(const float* first, size_t classes, ContextResult& result) {
        result.probabilities.assign(first, first + classes);
        if (classes == 1) result.probabilities.push_back(1 - first[0]);
    }

    /// Probabilities of every pixel with data, and their mean as the context's.
    void keepMap(const ContextPixels& context, const float* first, size_t classes,
                 ContextResult& result) const {
        const auto plane = static_cast<size_t>(config_.patchSizePx * config_.patchSizePx);
        result.segments.assign(config_.classNames.size(), {config_.patchSizePx, {}});
        for (auto& map : result.segments) map.values.assign(plane, 0.0f);
        std::vector<double> sums(config_.classNames.size());
        double count = 0;
        for (size_t p = 0; p < plane; ++p) {
            if (!context.rgba[4 * p + 3]) continue;
            ++count;
            for (size_t c = 0; c < classes; ++c)
                sums[c] += result.segments[c].values[p] = first[c * plane + p];
            if (classes == 1) sums[1] += result.segments[1].values[p] = 1 - first[p];
        }
        for (double sum : sums) result.probabilities.push_back(static_cast<float>(sum / count));
    }

    size_t bands() const { return static_cast<size_t>(config_.inputBands); }

    /// What the network takes, now that its input is known.
    void setInput(int64_t bands) {
        config_.inputBands = bands;
        const auto count = static_cast<size_t>(bands);
        if (!config_.colourBands.empty() && config_.colourBands.size() != count)
            throw ModelError(file_.string() + ": its input has " + std::to_string(bands) +
                             " bands, but \"bands\" names " +
                             std::to_string(config_.colourBands.size()));
        for (auto* values : {&config_.mean, &config_.std}) {
            const bool same = std::all_of(values->begin(), values->end(),
                                          [&](float v) { return v == values->front(); });
            if (values->size() < count && same) values->resize(count, values->front());
            if (values->size() < count || (values->size() > 3 && values->size() != count))
                throw ModelError(file_.string() + ": its input has " + std::to_string(bands) +
                                 " bands, but its standardization " +
                                 std::to_string(values->size()) + " numbers");
        }
        if (bands != 3 && config_.inputValues == InputValues::Color)
            throw ModelError(file_.string() + ": its input has " + std::to_string(bands) +
                             " bands, but \"input_values\" asks for colour, which has three");
        if (!session_.takesWholeNumbers()) return;
        // Whole numbers are taken as the file holds them.
        config_.inputDivisor = 1;
        config_.mean.assign(std::max<size_t>(3, count), 0);
        config_.std.assign(std::max<size_t>(3, count), 1);
    }

    /// Planes of (value / divisor - mean) / std; 0 in place of the value where there is no data.
    void fill(const ContextPixels& context, float* to) const {
        const auto plane = static_cast<size_t>(config_.patchSizePx * config_.patchSizePx);
        if (context.rgba.size() != 4 * plane ||
            (!context.values.empty() && context.values.size() != bands() * plane))
            throw ModelError("a context has the wrong size");
        // Colour of 8 bits is divided by 255 where the network asks for floating-point numbers.
        const bool colour = context.values.empty();
        const float divisor =
            colour && !session_.takesWholeNumbers() ? 255.0f : config_.inputDivisor;
        for (size_t c = 0; c < bands(); ++c)
            for (size_t p = 0; p < plane; ++p) {
                const float value = !context.rgba[4 * p + 3] ? 0.0f
                                    : colour ? static_cast<float>(context.rgba[4 * p + c % 3])
                                             : context.values[bands() * p + c];
                to[c * plane + p] = (value / divisor - config_.mean[c]) / config_.std[c];
            }
    }

    std::filesystem::path file_;
    ModelConfig config_;
    OnnxSession session_;  ///< one thread a call
    mutable std::once_flag madeForAll_;
    mutable std::optional<OnnxSession> forAll_;  ///< all threads a call
    int64_t fixedBatch_ = 0;
    Scores scores_{};
};

}  // namespace

std::unique_ptr<Classifier> openOnnx(const std::filesystem::path& file, const ModelConfig& config,
                                     const ClassifierOptions& options) {
    return std::make_unique<OnnxClassifier>(file, config, options);
}

}  // namespace atlas::engine
