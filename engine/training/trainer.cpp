// SPDX-License-Identifier: Apache-2.0
#include "engine/training/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randperm.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "engine/nn/atlas.h"
#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/device.h"
#include "engine/nn/machine.h"
#include "engine/nn/model_error.h"
#include "engine/nn/precision.h"
#include "engine/nn/safetensors.h"
#include "engine/training/batches.h"
#include "engine/training/evaluate_network.h"
#include "engine/training/largest_batch.h"
#include "engine/training/optimiser.h"
#include "engine/training/training_pictures.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Weights, optimiser and averaged weights: what a checkpoint holds.
struct State {
    StateDict weights, averaged;
    std::unique_ptr<Optimiser> optimiser;
    int64_t epoch = 0;  // finished ones
    json history = json::array();

    State(const TrainingPlan& plan, const std::filesystem::path& first, at::Device device) {
        weights = initialAtlasWeights(plan.model.network, plan.options.seed);
        if (!first.empty()) takeWeights(first / "model.safetensors");
        for (auto& [name, tensor] : weights) {
            tensor = tensor.to(device);
            if (!isBuffer(name)) tensor.set_requires_grad(true);
        }
        if (plan.options.ema > 0)
            for (const auto& [name, tensor] : weights) averaged[name] = tensor.detach().clone();
        optimiser = std::make_unique<Optimiser>(weights);
    }

    void takeWeights(const std::filesystem::path& path) {
        const StateDict found = loadSafetensors(path);
        for (auto& [name, tensor] : weights) {
            const auto match = found.find(name);
            if (match == found.end() || match->second.sizes() != tensor.sizes())
                throw ModelError(path.string() + ": its \"" + name +
                                 "\" does not fit the plan's network");
            tensor = match->second.to(tensor.scalar_type()).clone();
        }
    }

    void average(double decay, int64_t step) {
        const at::NoGradGuard noGradient;
        const double now =
            std::min(decay, (1.0 + static_cast<double>(step)) / (10.0 + static_cast<double>(step)));
        for (auto& [name, tensor] : averaged) tensor.lerp_(weights.at(name).detach(), 1 - now);
    }

    StateDict result() const {
        StateDict plain;
        for (const auto& [name, tensor] : averaged.empty() ? weights : averaged)
            plain[name] = tensor.detach().to(at::kCPU);
        return plain;
    }

    void save(const std::filesystem::path& dir, const std::string& key) const {
        std::filesystem::create_directories(dir);
        StateDict state;
        for (const auto& [name, tensor] : weights) state["weights/" + name] = tensor.detach();
        for (const auto& [name, tensor] : averaged) state["averaged/" + name] = tensor;
        optimiser->save(state);
        saveSafetensors(dir / "state.safetensors", state,
                        {{"key", key}, {"epoch", std::to_string(epoch)}});
        std::ofstream(dir / "progress.json.tmp")
            << json{{"key", key}, {"epoch", epoch}, {"history", history}}.dump(1);
        std::filesystem::rename(dir / "progress.json.tmp", dir / "progress.json");
    }

    /// Goes on from a checkpoint of the same plan and data, if there is one.
    void resume(const std::filesystem::path& dir, const std::string& key) {
        std::ifstream file(dir / "progress.json");
        const json progress = json::parse(file, nullptr, false);
        if (!progress.is_object() || progress.value("key", "") != key ||
            !std::filesystem::exists(dir / "state.safetensors"))
            return;
        const StateDict state = loadSafetensors(dir / "state.safetensors");
        const at::NoGradGuard noGradient;
        for (auto& [name, tensor] : weights) tensor.copy_(state.at("weights/" + name));
        for (auto& [name, tensor] : averaged) tensor.copy_(state.at("averaged/" + name));
        optimiser->load(state);
        epoch = progress.at("epoch").get<int64_t>();
        history = progress.at("history");
    }
};

/// Smoothed one-hot targets, [n, classes].
at::Tensor targetsOf(const Batch& batch, int64_t classes, double smoothing) {
    at::Tensor targets = at::full({static_cast<int64_t>(batch.labels.size()), classes},
                                  smoothing / static_cast<double>(classes), at::kFloat);
    for (size_t i = 0; i < batch.labels.size(); ++i)
        targets[static_cast<int64_t>(i)][batch.labels[i]].add_(1 - smoothing);
    return targets;
}

double betaSample(std::mt19937_64& random, double alpha) {
    std::gamma_distribution<double> gamma(alpha);
    const double a = gamma(random), b = gamma(random);
    return a + b > 0 ? a / (a + b) : 1;
}

std::vector<int> identityMap(size_t count) {
    std::vector<int> map(count);
    std::iota(map.begin(), map.end(), 0);
    return map;
}

json planRecord(const TrainingPlan& plan, const Dataset& data) {
    const auto& o = plan.options;
    const auto& a = o.augment;
    return {{"data_fingerprint", data.fingerprint()},
            {"samples_an_epoch", data.size()},
            {"seed", o.seed},
            {"epochs", o.epochs},
            {"batch", o.batch},
            {"learning_rate", o.learningRate},
            {"weight_decay", o.weightDecay},
            {"warmup_epochs", o.warmupEpochs},
            {"label_smoothing", o.labelSmoothing},
            {"mixup", {o.mixupAlpha, o.mixupProbability}},
            {"drop_path", o.dropPath},
            {"clip_norm", o.clipNorm},
            {"ema", o.ema},
            {"crop_area", {a.cropAreaMin, a.cropAreaMax}},
            {"brightness", {a.brightnessMin, a.brightnessMax}},
            {"contrast", {a.contrastMin, a.contrastMax}},
            {"saturation", {a.saturationMin, a.saturationMax}},
            {"erase", a.erase},
            {"flips", a.flips},
            {"quarter_turns", a.quarterTurns},
            {"context_sizes", o.contextSizes}};
}

/// One run of Trainer::run.
class Session {
  public:
    Session(const TrainingPlan& plan, const Dataset& data, const Dataset* validation,
            std::filesystem::path out, const std::filesystem::path& first)
        : plan_(plan),
          data_(data),
          validation_(validation),
          out_(std::move(out)),
          choice_(chooseDevice(plan.options.device)),
          state_(plan, first, choice_.device),
          network_(plan.model.network, state_.weights),
          bf16_(useBfloat16(plan.options.precision)),
          first_(first) {
        key_ = json{{"plan", planRecord(plan, data)},
                    {"network", plan.model.network.toJson()},
                    {"start", first.string()}}
                   .dump();
        state_.resume(out_ / "checkpoint", key_);
    }

    bool run(const std::stop_token& stop, const Trainer::Report& report) {
        if (plan_.options.memoryBytes > 0) checkMemory();
        start_ = Clock::now();
        firstEpoch_ = state_.epoch;
        steps_ = static_cast<int64_t>(planBatches(request(0)).size());
        while (state_.epoch < plan_.options.epochs) {
            if (!runEpoch(stop, report)) return false;
            ++state_.epoch;
            writeModel();
            state_.save(out_ / "checkpoint", key_);
        }
        writeModel();
        return true;
    }

  private:
    /// Trains on blank batches, each of the plan's sizes, and forgets what they did.
    void checkMemory() {
        std::map<int64_t, int64_t> largest;  // contexts of a batch, by side
        for (const BatchPlan& batch : planBatches(request(0)))
            largest[batch.side] =
                std::max(largest[batch.side], static_cast<int64_t>(batch.last - batch.first));
        StateDict kept;
        for (const auto& [name, tensor] : state_.weights)
            if (!tensor.requires_grad()) kept[name] = tensor.clone();
        const int64_t bytes = plan_.options.memoryBytes;
        for (const auto& [side, images] : largest) {
            const LargestBatch found = largestBatch(bytes, images, [&](int64_t count) {
                const at::Tensor waiting = at::ones({kBatchesAhead + 1, count, 3, side, side});
                stepOn(at::ones({count, 3, side, side}),
                       at::ones({count, plan_.model.network.numClasses}));
            });
            if (found.images < images)
                throw ModelError(
                    "batches of " + std::to_string(images) + " contexts of " +
                    std::to_string(side) + " pixels take more than the " + memoryText(bytes) +
                    " that are allowed (" + std::to_string(found.tooMany) + " take about " +
                    memoryText(found.tooManyBytes) +
                    (found.images > 0
                         ? ", " + std::to_string(found.images) + " take " + memoryText(found.bytes)
                         : "") +
                    "): allow more, or set a smaller \"batch\" in the plan");
        }
        const at::NoGradGuard noGradient;
        for (auto& [name, tensor] : state_.weights) {
            if (tensor.requires_grad())
                tensor.mutable_grad() = at::Tensor();
            else
                tensor.copy_(kept.at(name));
        }
    }

    double learningRate(double epoch) const {
        const auto& o = plan_.options;
        if (epoch < o.warmupEpochs) return o.learningRate * epoch / o.warmupEpochs;
        const double part =
            (epoch - o.warmupEpochs) / (static_cast<double>(o.epochs) - o.warmupEpochs);
        return o.minLearningRate +
               (o.learningRate - o.minLearningRate) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    }

    BatchRequest request(uint64_t epoch) const {
        BatchRequest request;
        request.order.resize(data_.size());
        std::iota(request.order.begin(), request.order.end(), size_t{0});
        request.batch = static_cast<size_t>(plan_.options.batch);
        request.side = static_cast<int>(plan_.model.patchSizePx);
        request.otherSides = plan_.options.contextSizes;
        request.epoch = epoch;
        request.seed = plan_.options.seed;
        request.augment = &plan_.options.augment;
        request.mean = plan_.model.mean;
        request.std = plan_.model.std;
        return request;
    }

    bool runEpoch(const std::stop_token& stop, const Trainer::Report& report) {
        const auto epoch = static_cast<uint64_t>(state_.epoch);
        at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
        generator.set_current_seed(plan_.options.seed * 1000 + epoch);
        std::seed_seq sequence{plan_.options.seed, epoch};
        std::mt19937_64 random(sequence);
        BatchRequest request = this->request(epoch);
        std::shuffle(request.order.begin(), request.order.end(), random);
        const auto steps = static_cast<int64_t>(planBatches(request).size());
        BatchLoader loader(data_, request);
        Batch batch;
        double lossSum = 0;
        for (int64_t step = 0; loader.next(batch); ++step) {
            if (stop.stop_requested()) return false;
            const double time = static_cast<double>(state_.epoch) +
                                static_cast<double>(step) / static_cast<double>(steps);
            lossSum += trainStep(batch, random);
            state_.optimiser->step(learningRate(time), plan_.options.weightDecay,
                                   plan_.options.clipNorm);
            if (plan_.options.ema > 0)
                state_.average(plan_.options.ema, state_.epoch * steps_ + step);
            report(progress(step + 1, lossSum / static_cast<double>(step + 1)));
        }
        json entry = {{"epoch", state_.epoch + 1}, {"loss", lossSum / static_cast<double>(steps)}};
        if (validation_) {
            Atlas fixed(plan_.model.network, state_.result());
            fixed.fold();
            const AtlasRunner runner(fixed);
            const auto logits = [&](const at::Tensor& images) {
                return runner.run(images, {}, {}).logits;
            };
            const Evaluation evaluation =
                evaluateNetwork(logits, plan_.model, *validation_, plan_.model.patchSizePx,
                                identityMap(plan_.model.classNames.size()), stop);
            validationAccuracy_ = evaluation.accuracy();
            entry["validation_accuracy"] = validationAccuracy_;
        }
        state_.history.push_back(entry);
        return true;
    }

    double trainStep(Batch& batch, std::mt19937_64& random) {
        const auto& o = plan_.options;
        at::Tensor images = asTensor(batch);
        at::Tensor targets = targetsOf(batch, plan_.model.network.numClasses, o.labelSmoothing);
        if (std::uniform_real_distribution<double>(0, 1)(random) < o.mixupProbability &&
            o.mixupAlpha > 0) {
            const double share = betaSample(random, o.mixupAlpha);
            const at::Tensor other = at::randperm(images.size(0));
            images = images * share + images.index_select(0, other) * (1 - share);
            targets = targets * share + targets.index_select(0, other) * (1 - share);
        }
        return stepOn(images, targets);
    }

    /// Adds to the gradients; the loss.
    double stepOn(const at::Tensor& images, const at::Tensor& targets) {
        at::Tensor logits;
        {
            const Autocast autocast(bf16_, choice_.device.type());
            ForwardMode mode;
            mode.training = true;
            mode.dropPath = plan_.options.dropPath;
            logits = network_.forward(images.to(choice_.device), {}, {}, nullptr, mode);
        }
        const at::Tensor loss =
            -(targets.to(choice_.device) * at::log_softmax(logits.to(at::kFloat), 1)).sum(1).mean();
        loss.backward();
        return loss.item<double>();
    }

    TrainingProgress progress(int64_t step, double loss) const {
        TrainingProgress p;
        p.epoch = state_.epoch + 1;
        p.epochs = plan_.options.epochs;
        p.step = step;
        p.steps = steps_;
        p.loss = loss;
        p.validationAccuracy = validationAccuracy_;
        const double done = static_cast<double>((state_.epoch - firstEpoch_) * steps_ + step);
        const double all = static_cast<double>((p.epochs - firstEpoch_) * steps_);
        const double seconds = secondsSince(start_);
        p.secondsLeft = seconds / done * (all - done);
        p.samplesPerSecond = done * static_cast<double>(plan_.options.batch) / seconds;
        return p;
    }

    void writeModel() {
        ModelConfig config = plan_.model;
        json record = planRecord(plan_, data_);
        if (!first_.empty()) record["started_from"] = startRecord();
        record["epochs_done"] = state_.epoch;
        record["device"] = choice_.reason;
        record["precision"] = bf16_ ? "bf16 autocast" : "fp32";
        record["history"] = state_.history;
        if (!state_.history.empty()) record["final"] = state_.history.back();
        if (!pictures_) pictures_ = picturesOf();
        if (!pictures_->is_null()) record["pictures"] = *pictures_;
        config.trainingRecord = record.dump();
        std::filesystem::create_directories(out_);
        saveSafetensors(out_ / "model.safetensors", state_.result(), {{"format", "pt"}});
        saveModelConfig(out_, config);
    }

    /// For the warnings of runs; null where there are too few pictures.
    json picturesOf() const {
        const auto reference = measurePictures(data_, plan_.model.patchSizePx);
        return reference ? reference->toJson() : json();
    }

    /// The training record of the model that this one began as.
    json startRecord() const {
        const ModelConfig start = loadModelConfig(first_);
        if (!start.isAtlas())
            throw ModelError(first_.string() + ": only Atlas networks are trained here");
        json record = json::parse(start.trainingRecord, nullptr, false);
        if (record.is_object()) {
            record.erase("evaluations");
            record.erase("pictures");
        }
        return {{"name", start.name}, {"training_record", record}};
    }

    const TrainingPlan& plan_;
    const Dataset& data_;
    const Dataset* validation_;
    std::filesystem::path out_;
    DeviceChoice choice_;
    State state_;
    Atlas network_;
    bool bf16_;
    std::filesystem::path first_;
    int64_t steps_ = 1;
    std::string key_;
    Clock::time_point start_;
    int64_t firstEpoch_ = 0;
    double validationAccuracy_ = -1;
    std::optional<json> pictures_;  ///< measured once
};

}  // namespace

Trainer::Trainer(TrainingPlan plan, const Dataset& data, const Dataset* validation,
                 std::filesystem::path out, std::filesystem::path start)
    : plan_(std::move(plan)),
      data_(data),
      validation_(validation),
      out_(std::move(out)),
      first_(std::move(start)) {
    plan_.model.classNames = data.classNames();
    plan_.model.network.numClasses = static_cast<int64_t>(data.classNames().size());
    if (plan_.model.classColors.size() != data.classNames().size())
        plan_.model.classColors = defaultClassColors(data.classNames().size());
    if (validation && validation->classNames() != data.classNames())
        throw ModelError("the validation data have other classes than the training data");
}

bool Trainer::run(std::stop_token stop, const Report& report) {
    return Session(plan_, data_, validation_, out_, first_).run(stop, report);
}

}  // namespace atlas::engine
