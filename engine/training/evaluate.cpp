// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/device.h"
#include "engine/nn/model_error.h"
#include "engine/nn/precision.h"
#include "engine/nn/safetensors.h"
#include "engine/training/batches.h"
#include "engine/training/evaluate_network.h"

namespace atlas::engine {

using nlohmann::json;

Evaluation evaluateNetwork(const LogitsOf& network, const ModelConfig& model, const Dataset& data,
                           int64_t side, const std::vector<int>& labelMap,
                           const std::stop_token& stop) {
    const at::NoGradGuard noGradient;
    Evaluation result;
    result.classNames = model.classNames;
    result.arrangementOnly = data.arrangementOnly();
    result.confusion.assign(model.classNames.size(), std::vector<int64_t>(model.classNames.size()));
    BatchRequest request;
    request.order.resize(data.size());
    std::iota(request.order.begin(), request.order.end(), size_t{0});
    request.batch = side > 1024 ? 1 : side > 512 ? 4 : 32;
    request.side = static_cast<int>(side);
    request.mean = model.mean;
    request.std = model.std;
    BatchLoader loader(data, request);
    Batch batch;
    const auto start = std::chrono::steady_clock::now();
    int64_t seen = 0;
    while (!stop.stop_requested() && loader.next(batch)) {
        const at::Tensor best = network(asTensor(batch)).argmax(1).to(at::kCPU);
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
                   {"device", device},          {"confusion", confusion}};
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
                         const ClassifierOptions& options, std::stop_token stop) {
    const ModelConfig model = loadModelConfig(modelDir);
    if (!model.isAtlas())
        throw ModelError(modelDir.string() + ": only Atlas networks are evaluated here yet");
    std::vector<int> map;
    for (const auto& name : data.classNames()) {
        const auto found = std::find(model.classNames.begin(), model.classNames.end(), name);
        if (found == model.classNames.end())
            throw ModelError(modelDir.string() + ": the model has no class \"" + name +
                             "\" of the data");
        map.push_back(static_cast<int>(found - model.classNames.begin()));
    }
    const DeviceChoice choice = chooseDevice(options.device);
    const bool bf16 = useBfloat16(options.precision);
    Atlas network(model.network, loadWeights(modelDir / "model.safetensors", choice.device));
    network.fold();
    std::optional<AtlasRunner> runner;
    if (choice.device.is_cpu() && !bf16) runner.emplace(network);
    const auto logits = [&](const at::Tensor& images) {
        if (runner) return runner->run(images, {}, {}).logits;
        const Autocast autocast(bf16, choice.device.type());
        return network.forward(images.to(choice.device), {}, {}, nullptr);
    };
    Evaluation result =
        evaluateNetwork(logits, model, data, side > 0 ? side : model.patchSizePx, map, stop);
    result.device = choice.reason + (bf16 ? ", bfloat16" : ", float32");
    return result;
}

}  // namespace atlas::engine
