// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/interrupt.h"
#include "app/options.h"
#include "app/places.h"
#include "app/terminal.h"
#include "engine/nn/classifier.h"
#include "engine/training/trainer.h"
#include "engine/training/training_pictures.h"
#include "io/numbers.h"

namespace atlas::app {
namespace {

std::string duration(double seconds) {
    char text[32];
    const int total = static_cast<int>(seconds + 0.5);
    if (total >= 3600)
        std::snprintf(text, sizeof text, "%d h %02d min", total / 3600, total / 60 % 60);
    else if (total >= 60)
        std::snprintf(text, sizeof text, "%d min %02d s", total / 60, total % 60);
    else
        std::snprintf(text, sizeof text, "%d s", total);
    return text;
}

void printProgress(const engine::TrainingProgress& p, bool json) {
    const bool epochEnd = p.step == p.steps;
    if (json) {
        if (epochEnd)
            std::cout << nlohmann::json{{"epoch", p.epoch},
                                        {"loss", p.loss},
                                        {"seconds_left", p.secondsLeft}}
                      << std::endl;
        return;
    }
    if (!epochEnd && !isTerminal(stdout)) return;
    io::printText(stdout, "\repoch %lld/%lld  %lld/%lld  loss %.4f  %s%.1f samples/s  %s left   ",
                  static_cast<long long>(p.epoch), static_cast<long long>(p.epochs),
                  static_cast<long long>(p.step), static_cast<long long>(p.steps), p.loss,
                  p.validationAccuracy >= 0
                      ? ("validation " + io::formatFixed(p.validationAccuracy, 4) + "  ").c_str()
                      : "",
                  p.samplesPerSecond, duration(p.secondsLeft).c_str());
    if (epochEnd) std::printf("\n");
    std::fflush(stdout);
}

/// 0: no limit, since none was given.
int64_t memoryOf(const EngineArguments& engine) {
    return engine.memory.empty() ? 0 : parseMemory(engine.memory);
}

int runRecordPictures(const EvalArguments& arguments) {
    const auto modelDir = findModel(arguments.model);
    const auto model = engine::loadModelConfig(modelDir);
    const auto data = engine::openDataset(arguments.data, model.patchSizePx);
    const auto pictures = engine::measurePictures(*data, model.patchSizePx, interruptToken());
    if (!pictures) {
        if (interruptToken().stop_requested()) return 130;
        throw std::runtime_error(arguments.data +
                                 ": there are too few pictures to measure what "
                                 "they look like; at least " +
                                 std::to_string(engine::PictureReference::kLeastSquares) +
                                 " squares of " + std::to_string(engine::kPictureSquarePx) +
                                 " pixels are needed");
    }
    engine::recordPictures(modelDir, *pictures);
    if (arguments.json)
        std::cout << pictures->toJson().dump(1) << std::endl;
    else
        std::cout << (modelDir / "config.json").string() << " now records what the pictures of "
                  << arguments.data << " look like" << std::endl;
    return 0;
}

}  // namespace

int runTrain(const TrainArguments& arguments) {
    engine::setThreads(arguments.engine.threads);
    auto plan = engine::TrainingPlan::load(arguments.config);
    plan.options.device = arguments.engine.device;
    plan.options.memoryBytes = memoryOf(arguments.engine);
    if (!arguments.engine.precision.empty()) plan.options.precision = arguments.engine.precision;
    const auto data = engine::openDataset(arguments.data, plan.model.patchSizePx);
    std::unique_ptr<engine::Dataset> validation;
    if (!arguments.validation.empty())
        validation = engine::openDataset(arguments.validation, plan.model.patchSizePx);
    engine::Trainer trainer(
        plan, *data, validation.get(), arguments.out,
        arguments.start.empty() ? std::filesystem::path() : findModel(arguments.start));
    const bool done = trainer.run(interruptToken(), [&](const engine::TrainingProgress& p) {
        printProgress(p, arguments.json);
    });
    std::cout << (done ? "The model is in "
                       : "Stopped; run the same command again to go on from the last epoch in ")
              << arguments.out << std::endl;
    return done ? 0 : 130;
}

int runEval(const EvalArguments& arguments) {
    if (arguments.recordPictures) return runRecordPictures(arguments);
    engine::setThreads(arguments.engine.threads);
    const auto modelDir = findModel(arguments.model);
    const auto model = engine::loadModelConfig(modelDir);
    if (!arguments.record.empty() &&
        (model.architecture == engine::kTorchScript || model.architecture == engine::kOnnx))
        throw std::runtime_error("--record: an exported model has no training record to write to");
    const int64_t side = arguments.size > 0 ? arguments.size : model.patchSizePx;
    if (side < 16 || side > 16384) throw std::runtime_error("--size must be 16 to 16384 pixels");
    const auto data = engine::openDataset(arguments.data, side);
    const auto result = engine::evaluateModel(
        modelDir, *data, side, optionsOf(modelDir, arguments.engine, arguments.trustModel),
        interruptToken(), memoryOf(arguments.engine));
    auto json = result.toJson();
    json["data"] = arguments.data;
    json["context_px"] = side;
    json["data_fingerprint"] = data->fingerprint();
    if (!arguments.record.empty()) {
        auto updated = model;
        auto record = nlohmann::json::parse(updated.trainingRecord);
        auto entry = json;
        entry.erase("confusion");
        entry.erase("class_names");
        entry.erase("data");
        record["evaluations"][arguments.record] = entry;
        updated.trainingRecord = record.dump();
        engine::saveModelConfig(modelDir, updated);
    }
    if (arguments.json) {
        std::cout << json.dump(1) << std::endl;
        return 0;
    }
    const auto interval = engine::wilsonInterval(result.right, result.count);
    io::printText(stdout,
                  "%lld samples, %.1f %% right (95 %% interval %.1f to %.1f), %.3f s a sample\n",
                  static_cast<long long>(result.count), 100 * result.accuracy(), 100 * interval[0],
                  100 * interval[1], result.secondsPerSample);
    if (result.mixedCount)
        io::printText(
            stdout, "%lld more contexts have less than 60 %% of one class; %.1f %% of them right\n",
            static_cast<long long>(result.mixedCount),
            100.0 * static_cast<double>(result.mixedRight) /
                static_cast<double>(result.mixedCount));
    for (size_t i = 0; i < result.classNames.size(); ++i)
        io::printText(stdout, "  %-24s %5.1f %%\n", result.classNames[i].c_str(),
                      100 * result.classAccuracy(i));
    if (json.contains("arrangement_only"))
        io::printText(
            stdout,
            "classes that differ in arrangement alone: %.1f %% (chance %.1f %%); others: %.1f %%\n",
            100 * result.groupAccuracy(true),
            100 * json["arrangement_only"]["chance"].get<double>(),
            100 * result.groupAccuracy(false));
    return 0;
}

}  // namespace atlas::app
