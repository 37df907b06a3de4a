// SPDX-License-Identifier: Apache-2.0
#include "engine/training/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randperm.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "engine/nn/atlas.h"
#include "engine/nn/autocast.h"
#include "engine/nn/model_error.h"
#include "engine/nn/precision.h"
#include "engine/nn/safetensors.h"
#include "engine/training/batches.h"

namespace atlas::engine {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

bool isBuffer(const std::string& name) {
    return name.ends_with(".running_mean") || name.ends_with(".running_var");
}

/// AdamW over one state dict; decay on matrices and kernels alone.
class Optimiser {
  public:
    explicit Optimiser(const StateDict& weights) {
        for (const auto& [name, tensor] : weights) {
            if (isBuffer(name)) continue;
            auto& group = tensor.dim() > 1 ? decayed_ : plain_;
            group.parameters.push_back(tensor);
            group.names.push_back(name);
            group.first.push_back(at::zeros_like(tensor).detach());
            group.second.push_back(at::zeros_like(tensor).detach());
            group.steps.push_back(at::zeros({}, at::kFloat));
        }
    }

    void step(double learningRate, double weightDecay, double clipNorm) {
        const at::NoGradGuard noGradient;
        const double scale = clipScale(clipNorm);
        for (auto* group : {&decayed_, &plain_}) {
            std::vector<at::Tensor> gradients, parameters, first, second, steps;
            for (size_t i = 0; i < group->parameters.size(); ++i) {
                const at::Tensor gradient = group->parameters[i].grad();
                if (!gradient.defined()) continue;  // weight sets beyond the scales of the image
                gradient.mul_(scale);
                gradients.push_back(gradient);
                parameters.push_back(group->parameters[i]);
                first.push_back(group->first[i]);
                second.push_back(group->second[i]);
                steps.push_back(group->steps[i].add_(1));
            }
            at::_fused_adamw_(parameters, gradients, first, second, {}, steps, learningRate, 0.9,
                              0.999, group == &decayed_ ? weightDecay : 0.0, 1e-8, false, false);
            for (const auto& gradient : gradients) gradient.zero_();
        }
    }

    void save(StateDict& state) const {
        for (const auto* group : {&decayed_, &plain_})
            for (size_t i = 0; i < group->names.size(); ++i) {
                state["first/" + group->names[i]] = group->first[i];
                state["second/" + group->names[i]] = group->second[i];
                state["steps/" + group->names[i]] = group->steps[i];
            }
    }
    void load(const StateDict& state) {
        for (auto* group : {&decayed_, &plain_})
            for (size_t i = 0; i < group->names.size(); ++i) {
                group->first[i].copy_(state.at("first/" + group->names[i]));
                group->second[i].copy_(state.at("second/" + group->names[i]));
                group->steps[i].copy_(state.at("steps/" + group->names[i]));
            }
    }

  private:
    struct Group {
        std::vector<std::string> names;
        std::vector<at::Tensor> parameters, first, second, steps;
    };

    double clipScale(double clipNorm) const {
        if (clipNorm <= 0) return 1;
        double squares = 0;
        for (const auto* group : {&decayed_, &plain_})
            for (const auto& parameter : group->parameters)
                if (parameter.grad().defined())
                    squares += parameter.grad().square().sum().item<double>();
        const double norm = std::sqrt(squares);
        if (!std::isfinite(norm)) throw ModelError("training diverged: the gradient is not finite");
        return std::min(1.0, clipNorm / (norm + 1e-6));
    }

    Group decayed_, plain_;
};

/// Weights, optimiser and averaged weights: what a checkpoint holds.
struct State {
    StateDict weights, averaged;
    std::unique_ptr<Optimiser> optimiser;
    int64_t epoch = 0;  // finished ones
    json history = json::array();

    explicit State(const TrainingPlan& plan) {
        weights = initialAtlasWeights(plan.model.network, plan.options.seed);
        for (auto& [name, tensor] : weights)
            if (!isBuffer(name)) tensor.set_requires_grad(true);
        if (plan.options.ema > 0)
            for (const auto& [name, tensor] : weights) averaged[name] = tensor.detach().clone();
        optimiser = std::make_unique<Optimiser>(weights);
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
            plain[name] = tensor.detach();
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

at::Tensor asTensor(Batch& batch, int64_t side) {
    return at::from_blob(batch.pixels.data(),
                         {static_cast<int64_t>(batch.labels.size()), 3, side, side}, at::kFloat);
}

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

Evaluation evaluateNetwork(const Atlas& network, const ModelConfig& model, const Dataset& data,
                           bool bf16, const std::vector<int>& labelMap,
                           const std::stop_token& stop) {
    const at::NoGradGuard noGradient;
    Evaluation result;
    result.classNames = model.classNames;
    result.arrangementOnly = data.arrangementOnly();
    result.confusion.assign(model.classNames.size(), std::vector<int64_t>(model.classNames.size()));
    BatchRequest request;
    request.order.resize(data.size());
    std::iota(request.order.begin(), request.order.end(), size_t{0});
    request.batch = model.patchSizePx > 512 ? 4 : 32;
    request.side = static_cast<int>(model.patchSizePx);
    request.mean = model.mean;
    request.std = model.std;
    BatchLoader loader(data, request);
    Batch batch;
    const auto start = Clock::now();
    int64_t seen = 0;
    while (!stop.stop_requested() && loader.next(batch)) {
        const Autocast autocast(bf16, at::kCPU);
        const at::Tensor best = network.forward(asTensor(batch, model.patchSizePx), {}, {}, nullptr)
                                    .to(at::kFloat)
                                    .argmax(1);
        for (size_t i = 0; i < batch.labels.size(); ++i) {
            const auto predicted = best[static_cast<int64_t>(i)].item<int64_t>();
            const int truth = labelMap[static_cast<size_t>(batch.labels[i])];
            const bool hit = predicted == truth;
            if (batch.shares[i] < 0.6) {
                ++result.mixedCount;
                result.mixedRight += hit;
                continue;
            }
            ++result.count;
            result.right += hit;
            ++result.confusion[static_cast<size_t>(truth)][static_cast<size_t>(predicted)];
        }
        seen += static_cast<int64_t>(batch.labels.size());
    }
    result.secondsPerSample = seen ? secondsSince(start) / static_cast<double>(seen) : 0;
    return result;
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
            {"quarter_turns", a.quarterTurns}};
}

/// One run of Trainer::run.
class Session {
  public:
    Session(const TrainingPlan& plan, const Dataset& data, const Dataset* validation,
            std::filesystem::path out)
        : plan_(plan),
          data_(data),
          validation_(validation),
          out_(std::move(out)),
          state_(plan),
          network_(plan.model.network, state_.weights),
          bf16_(useBfloat16(plan.options.precision)),
          steps_((static_cast<int64_t>(data.size()) + plan.options.batch - 1) /
                 plan.options.batch) {
        key_ =
            json{{"plan", planRecord(plan, data)}, {"network", plan.model.network.toJson()}}.dump();
        state_.resume(out_ / "checkpoint", key_);
    }

    bool run(const std::stop_token& stop, const Trainer::Report& report) {
        start_ = Clock::now();
        firstEpoch_ = state_.epoch;
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
    double learningRate(double epoch) const {
        const auto& o = plan_.options;
        if (epoch < o.warmupEpochs) return o.learningRate * epoch / o.warmupEpochs;
        const double part =
            (epoch - o.warmupEpochs) / (static_cast<double>(o.epochs) - o.warmupEpochs);
        return o.minLearningRate +
               (o.learningRate - o.minLearningRate) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    }

    bool runEpoch(const std::stop_token& stop, const Trainer::Report& report) {
        const auto epoch = static_cast<uint64_t>(state_.epoch);
        at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
        generator.set_current_seed(plan_.options.seed * 1000 + epoch);
        std::seed_seq sequence{plan_.options.seed, epoch};
        std::mt19937_64 random(sequence);
        BatchRequest request;
        request.order.resize(data_.size());
        std::iota(request.order.begin(), request.order.end(), size_t{0});
        std::shuffle(request.order.begin(), request.order.end(), random);
        request.batch = static_cast<size_t>(plan_.options.batch);
        request.side = static_cast<int>(plan_.model.patchSizePx);
        request.epoch = epoch;
        request.seed = plan_.options.seed;
        request.augment = &plan_.options.augment;
        request.mean = plan_.model.mean;
        request.std = plan_.model.std;
        BatchLoader loader(data_, request);
        Batch batch;
        double lossSum = 0;
        for (int64_t step = 0; loader.next(batch); ++step) {
            if (stop.stop_requested()) return false;
            const double time = static_cast<double>(state_.epoch) +
                                static_cast<double>(step) / static_cast<double>(steps_);
            lossSum += trainStep(batch, random);
            state_.optimiser->step(learningRate(time), plan_.options.weightDecay,
                                   plan_.options.clipNorm);
            if (plan_.options.ema > 0)
                state_.average(plan_.options.ema, state_.epoch * steps_ + step);
            report(progress(step + 1, lossSum / static_cast<double>(step + 1)));
        }
        json entry = {{"epoch", state_.epoch + 1}, {"loss", lossSum / static_cast<double>(steps_)}};
        if (validation_) {
            Atlas fixed(plan_.model.network, state_.result());
            const Evaluation evaluation =
                evaluateNetwork(fixed, plan_.model, *validation_, bf16_,
                                identityMap(plan_.model.classNames.size()), stop);
            validationAccuracy_ = evaluation.accuracy();
            entry["validation_accuracy"] = validationAccuracy_;
        }
        state_.history.push_back(entry);
        return true;
    }

    double trainStep(Batch& batch, std::mt19937_64& random) {
        const auto& o = plan_.options;
        at::Tensor images = asTensor(batch, plan_.model.patchSizePx);
        at::Tensor targets = targetsOf(batch, plan_.model.network.numClasses, o.labelSmoothing);
        if (std::uniform_real_distribution<double>(0, 1)(random) < o.mixupProbability &&
            o.mixupAlpha > 0) {
            const double share = betaSample(random, o.mixupAlpha);
            const at::Tensor other = at::randperm(images.size(0));
            images = images * share + images.index_select(0, other) * (1 - share);
            targets = targets * share + targets.index_select(0, other) * (1 - share);
        }
        at::Tensor logits;
        {
            const Autocast autocast(bf16_, at::kCPU);
            ForwardMode mode;
            mode.training = true;
            mode.dropPath = o.dropPath;
            logits = network_.forward(images, {}, {}, nullptr, mode);
        }
        const at::Tensor loss =
            -(targets * at::log_softmax(logits.to(at::kFloat), 1)).sum(1).mean();
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

    void writeModel() const {
        ModelConfig config = plan_.model;
        json record = planRecord(plan_, data_);
        record["epochs_done"] = state_.epoch;
        record["precision"] = bf16_ ? "bf16 autocast" : "fp32";
        record["history"] = state_.history;
        if (!state_.history.empty()) record["final"] = state_.history.back();
        config.trainingRecord = record.dump();
        std::filesystem::create_directories(out_);
        saveSafetensors(out_ / "model.safetensors", state_.result(), {{"format", "pt"}});
        saveModelConfig(out_, config);
    }

    const TrainingPlan& plan_;
    const Dataset& data_;
    const Dataset* validation_;
    std::filesystem::path out_;
    State state_;
    Atlas network_;
    bool bf16_;
    int64_t steps_;
    std::string key_;
    Clock::time_point start_;
    int64_t firstEpoch_ = 0;
    double validationAccuracy_ = -1;
};

}  // namespace

Trainer::Trainer(TrainingPlan plan, const Dataset& data, const Dataset* validation,
                 std::filesystem::path out)
    : plan_(std::move(plan)), data_(data), validation_(validation), out_(std::move(out)) {
    plan_.model.classNames = data.classNames();
    plan_.model.network.numClasses = static_cast<int64_t>(data.classNames().size());
    if (plan_.model.classColors.size() != data.classNames().size())
        plan_.model.classColors = defaultClassColors(data.classNames().size());
    if (validation && validation->classNames() != data.classNames())
        throw ModelError("the validation data have other classes than the training data");
}

bool Trainer::run(std::stop_token stop, const Report& report) {
    return Session(plan_, data_, validation_, out_).run(stop, report);
}

double Evaluation::classAccuracy(size_t label) const {
    const auto& row = confusion[label];
    const int64_t all = std::accumulate(row.begin(), row.end(), int64_t{0});
    return all ? static_cast<double>(row[label]) / static_cast<double>(all) : 0;
}

double Evaluation::groupAccuracy(bool arrangement) const {
    int64_t all = 0, hits = 0;
    for (size_t label = 0; label < confusion.size(); ++label) {
        if (label >= arrangementOnly.size() || arrangementOnly[label] != arrangement) continue;
        all += std::accumulate(confusion[label].begin(), confusion[label].end(), int64_t{0});
        hits += confusion[label][label];
    }
    return all ? static_cast<double>(hits) / static_cast<double>(all) : 0;
}

json Evaluation::toJson() const {
    const auto interval = wilsonInterval(right, count);
    json result = {{"samples", count},          {"accuracy", accuracy()},
                   {"accuracy_95", interval},   {"seconds_per_sample", secondsPerSample},
                   {"class_names", classNames}, {"per_class", json::object()},
                   {"confusion", confusion}};
    for (size_t i = 0; i < classNames.size(); ++i)
        result["per_class"][classNames[i]] = classAccuracy(i);
    if (mixedCount)
        result["below_60_percent"] = {
            {"samples", mixedCount},
            {"accuracy", static_cast<double>(mixedRight) / static_cast<double>(mixedCount)}};
    const auto special = std::count(arrangementOnly.begin(), arrangementOnly.end(), true);
    if (special)
        result["arrangement_only"] = {{"accuracy", groupAccuracy(true)},
                                      {"chance", 1.0 / static_cast<double>(special)},
                                      {"other_classes_accuracy", groupAccuracy(false)}};
    return result;
}

std::array<double, 2> wilsonInterval(int64_t right, int64_t count) {
    if (count == 0) return {0, 1};
    const auto n = static_cast<double>(count);
    const double p = static_cast<double>(right) / n, z = 1.959964;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

Evaluation evaluateModel(const std::filesystem::path& modelDir, const Dataset& data,
                         std::stop_token stop) {
    const ModelConfig model = loadModelConfig(modelDir);
    std::vector<int> map;
    for (const auto& name : data.classNames()) {
        const auto found = std::find(model.classNames.begin(), model.classNames.end(), name);
        if (found == model.classNames.end())
            throw ModelError(modelDir.string() + ": the model has no class \"" + name +
                             "\" of the data");
        map.push_back(static_cast<int>(found - model.classNames.begin()));
    }
    StateDict weights = loadSafetensors(modelDir / "model.safetensors");
    for (auto& [name, tensor] : weights)
        if (tensor.is_floating_point()) tensor = tensor.to(at::kFloat);
    Atlas network(model.network, weights);
    network.fold();
    return evaluateNetwork(network, model, data, false, map, stop);
}

}  // namespace atlas::engine
