// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

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

namespace atlas::engine {
namespace {

using nlohmann::json;

constexpr double kClear = 0.6;  // of a context that one class must cover
constexpr size_t kBatch = 4;    // contexts of a model that is not Atlas

Evaluation begin(const ModelConfig& model, const Dataset& data) {
    Evaluation result;
    result.classNames = model.classNames;
    result.arrangementOnly = data.arrangementOnly();
    result.confusion.assign(model.classNames.size(), std::vector<int64_t>(model.classNames.size()));
    return result;
}

/// Contexts at once, at most `most`; a few are classified for a trial.
size_t contextsWithin(int64_t memoryBytes, size_t most, int64_t side,
                      const std::function<void(int64_t images)>& work) {
    most = std::max<size_t>(most, 1);
    if (memoryBytes <= 0) return most;
    const LargestBatch batch = largestBatch(memoryBytes, static_cast<int64_t>(most), work);
    if (batch.images == 0)
        throw ModelError("one context of " + std::to_string(side) + " pixels takes " +
                         memoryText(batch.tooManyBytes) + " with all that is loaded, but only " +
                         memoryText(memoryBytes) + " are allowed");
    return static_cast<size_t>(batch.images);
}

/// Sister networks and exported models: they take contexts of their own size alone.
Evaluation evaluateClassifier(const std::filesystem::path& modelDir, const Dataset& data,
                              int64_t side, const std::vector<int>& labelMap,
                              const ClassifierOptions& options, const std::stop_token& stop,
                              int64_t memoryBytes) {
    const auto classifier = Classifier::open(modelDir, options);
    const ModelConfig& model = classifier->config();
    if (side > 0 && side != model.patchSizePx)
        throw ModelError(modelDir.string() + ": this model takes contexts of " +
                         std::to_string(model.patchSizePx) + " pixels, not " +
                         std::to_string(side));
    Evaluation result = begin(model, data);
    result.device = classifier->deviceReason();
    if (model.segmentSide > 0)
        throw ModelError(modelDir.string() +
                         ": it gives a class for every pixel, the data one for every image");
    const size_t batch = contextsWithin(
        memoryBytes, std::min(data.size(), kBatch), model.patchSizePx, [&](int64_t images) {
            const auto pixels = static_cast<size_t>(model.patchSizePx * model.patchSizePx);
            const ContextPixels white{std::vector<uint8_t>(4 * pixels, 255)};
            classifier->classify(std::vector(static_cast<size_t>(images), white), false);
        });
    result.batch = static_cast<int64_t>(batch);
    const auto start = std::chrono::steady_clock::now();
    int64_t seen = 0;
    for (size_t first = 0; first < data.size() && !stop.stop_requested(); first += batch) {
        std::vector<ContextPixels> contexts;
        std::vector<Sample> samples;
        for (size_t i = first; i < std::min(data.size(), first + batch); ++i) {
            samples.push_back(data.sample(i, 0, model.patchSizePx));
            contexts.push_back(middleOf(samples.back().image, model.patchSizePx));
        }
        const auto answers = classifier->classify(contexts, false);
        for (size_t i = 0; i < answers.size(); ++i) {
            const auto& p = answers[i].probabilities;
            if (p.empty()) continue;  // an image without a pixel
            const auto best = std::max_element(p.begin(), p.end());
            result.add(labelMap[static_cast<size_t>(samples[i].label)],
                       static_cast<int>(best - p.begin()), samples[i].share);
            ++seen;
        }
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    result.secondsPerSample = seen ? spent.count() / static_cast<double>(seen) : 0;
    return result;
}

}  // namespace

ContextPixels middleOf(const io::RasterBlock& image, int64_t side) {
    ContextPixels context{std::vector<uint8_t>(static_cast<size_t>(4 * side * side), 0)};
    const int64_t left = (image.width - side) / 2, top = (image.height - side) / 2;
    for (int64_t y = std::max<int64_t>(0, -top); y < side && top + y < image.height; ++y)
        for (int64_t x = std::max<int64_t>(0, -left); x < side && left + x < image.width; ++x) {
            const auto from =
                           static_cast<size_t>(((top + y) * image.width + left + x) * image.bands),
                       to = static_cast<size_t>(4 * (y * side + x));
            std::copy_n(image.u8.begin() + static_cast<std::ptrdiff_t>(from), 3,
                        context.rgba.begin() + static_cast<std::ptrdiff_t>(to));
            context.rgba[to + 3] = 255;
        }
    return context;
}

void Evaluation::add(int truth, int predicted, double share) {
    const bool hit = predicted == truth;
    if (share < kClear) {
        ++mixedCount;
        mixedRight += hit;
        return;
    }
    ++count;
    right += hit;
    ++confusion[static_cast<size_t>(truth)][static_cast<size_t>(predicted)];
}

Evaluation evaluateNetwork(const LogitsOf& network, const ModelConfig& model, const Dataset& data,
                           int64_t side, const std::vector<int>& labelMap,
                           const std::stop_token& stop, int64_t memoryBytes) {
    const at::NoGradGuard noGradient;
    Evaluation result = begin(model, data);
    BatchRequest request;
    request.order.resize(data.size());
    std::iota(request.order.begin(), request.order.end(), size_t{0});
    const auto all = static_cast<int64_t>(data.size());
    const size_t most = std::min<size_t>(data.size(), side > 1024 ? 1 : side > 512 ? 4 : 32);
    request.batch = contextsWithin(memoryBytes, most, side, [&](int64_t images) {
        // The loader holds a few batches more.
        const int64_t batches = std::min<int64_t>(kBatchesAhead + 1, (all + images - 1) / images);
        const at::Tensor waiting = at::ones({batches, images, 3, side, side});
        network(at::ones({images, 3, side, side}));
    });
    result.batch = static_cast<int64_t>(request.batch);
    request.side = static_cast<int>(side);
    request.mean = model.mean;
    request.std = model.std;
    BatchLoader loader(data, request);
    Batch batch;
    const auto start = std::chrono::steady_clock::now();
    int64_t seen = 0;
    while (!stop.stop_requested() && loader.next(batch)) {
        const at::Tensor best = network(asTensor(batch)).argmax(1).to(at::kCPU);
        for (size_t i = 0; i < batch.labels.size(); ++i)
            result.add(labelMap[static_cast<size_t>(batch.labels[i])],
                       static_cast<int>(best[static_cast<int64_t>(i)].item<int64_t>()),
                       batch.shares[i]);
        seen += static_cast<int64_t>(batch.labels.size());
    }
    result.secondsPerSample =
        seen ? std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
                   static_cast<double>(seen)
             : 0;
    return result;
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
                   {"device", device},          {"contexts_at_once", batch},
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

Evaluation evaluateModel(const std::filesystem::path& modelDir, const Dataset& data, int64_t side,
                         const ClassifierOptions& options, std::stop_token stop,
                         int64_t memoryBytes) {
    const ModelConfig model = loadModelConfig(modelDir);
    std::vector<int> map;
    for (const auto& name : data.classNames()) {
        const auto found = std::find(model.classNames.begin(), model.classNames.end(), name);
        if (found == model.classNames.end())
            throw ModelError(modelDir.string() + ": the model has no class \"" + name +
                             "\" of the data");
        map.push_back(static_cast<int>(found - model.classNames.begin()));
    }
    if (!model.isAtlas())
        return evaluateClassifier(modelDir, data, side, map, options, stop, memoryBytes);
    const DeviceChoice choice = chooseDevice(options.device);
    const bool bf16 = useBfloat16(options.precision);
    Atlas network(model.network, loadWeights(modelDir / "model.safetensors", choice.device));
    network.fold();
    std::optional<AtlasRunner> runner;
    if (choice.ownKernels) runner.emplace(network, bf16);
    const auto logits = [&](const at::Tensor& images) {
        if (runner) return runner->run(images, {}, {}).logits;
        const Autocast autocast(bf16, choice.device.type());
        return network.forward(images.to(choice.device), {}, {}, nullptr);
    };
    Evaluation result = evaluateNetwork(logits, model, data, side > 0 ? side : model.patchSizePx,
                                        map, stop, memoryBytes);
    result.device = choice.reason + (bf16 ? ", bfloat16" : ", float32");
    return result;
}

}  // namespace atlas::engine
