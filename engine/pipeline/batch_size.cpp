// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/batch_size.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "engine/nn/atlas_cost.h"
#include "engine/nn/machine.h"
#include "engine/pipeline/trust.h"

namespace atlas::engine {
namespace {

// One thread of a laptop does this in about a third of a second: small networks are faster with
// several contexts at once, large ones should not keep their first result back.
constexpr double kFlopsAThread = 22.5e9;
constexpr double kMostAThread = 8;
constexpr int kMostOnDevice = 16;

// Of networks whose arithmetic is not known. 16 contexts are enough to keep two threads busy to the
// end; a network with more than 100 MB of weights takes several times as long for each context.
constexpr int kMostExported = 16;
constexpr int64_t kUsualWeights = 100'000'000;
constexpr int kContextsAThread = 4;
// The widest layers of common networks hold 64 channels of float32 at half of the side, or at all
// of it where they segment, three times over.
constexpr int64_t kBytesAPixel = 1024;
constexpr int64_t kShareOfMemory = 4;

/// As many for each thread, so that none waits for another; of a large network all threads share a
/// context.
int ofKnownCost(const BatchFacts& facts) {
    const int threads = std::max(1, facts.threads);
    const double each = std::min(kFlopsAThread / facts.flops, kMostAThread);
    if (!facts.onProcessor)
        return static_cast<int>(
            std::clamp(2 * kFlopsAThread / facts.flops, 1.0, static_cast<double>(kMostOnDevice)));
    if (each >= 0.5) return threads * std::max(1, static_cast<int>(std::lround(each)));
    return std::max(1, static_cast<int>(each * threads));
}

}  // namespace

BatchPlan chooseBatch(const BatchFacts& facts) {
    BatchPlan plan;
    if (facts.asked > 0) {
        plan.contexts = facts.asked;
        plan.why = "as asked";
        return plan;
    }
    if (facts.flops > 0) {
        plan.contexts = ofKnownCost(facts);
        plan.why = "by the arithmetic of one context and the number of threads";
        return plan;
    }
    const int64_t byWeights =
        kMostExported * kUsualWeights / std::max(kUsualWeights, facts.weightBytes);
    const int64_t wanted =
        std::max<int64_t>(byWeights, kContextsAThread * std::max(1, facts.threads));
    const int64_t pixels = std::max<int64_t>(1, facts.sidePx) * std::max<int64_t>(1, facts.sidePx);
    const int64_t fitting = facts.memoryBytes > 0
                                ? facts.memoryBytes / kShareOfMemory / (pixels * kBytesAPixel)
                                : wanted;
    plan.contexts = static_cast<int>(std::clamp<int64_t>(fitting, 1, wanted));
    plan.why = fitting < wanted
                   ? "as many as fit into a quarter of " + memoryText(facts.memoryBytes)
                   : "by the size of the weights and the number of threads";
    return plan;
}

BatchPlan planBatches(const RunRequest& request, const Classifier& classifier) {
    const ModelConfig& model = classifier.config();
    BatchFacts facts;
    facts.asked = request.batch;
    if (model.isAtlas()) facts.flops = atlasCost(model.network, model.patchSizePx).total();
    facts.sidePx = model.patchSizePx;
    std::error_code unknown;
    const auto bytes = std::filesystem::file_size(weightsFile(request.modelDir), unknown);
    if (!unknown) facts.weightBytes = static_cast<int64_t>(bytes);
    facts.memoryBytes = request.memoryBytes;
    facts.threads = threadsInUse();
    facts.onProcessor = classifier.isOnProcessor();
    BatchPlan plan = chooseBatch(facts);
    plan.precision = classifier.precision();
    return plan;
}

}  // namespace atlas::engine
