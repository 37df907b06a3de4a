// SPDX-License-Identifier: Apache-2.0
// Fits an Atlas network and evaluates one. Plain objects with run(stop, progress); the command
// line and the tests run the same code. The recipe follows atlas_checkpoints.md, "Training".
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/nn/model_config.h"
#include "engine/training/augment.h"
#include "engine/training/dataset.h"

namespace atlas::engine {

struct TrainingOptions {
    int64_t epochs = 40;
    int64_t batch = 32;
    double learningRate = 1e-3, minLearningRate = 1e-6;
    double weightDecay = 0.05;
    double warmupEpochs = 3;
    double labelSmoothing = 0.1;
    double mixupAlpha = 0.4, mixupProbability = 0.5;
    double dropPath = 0.09;
    double clipNorm = 5;
    double ema = 0;  ///< decay of the averaged weights a step; 0: none are kept
    uint64_t seed = 1;
    std::string precision = "auto";  ///< auto, fp32 or bf16; auto: bf16 where the device has it
    std::string device = "auto";     ///< auto, cpu, cuda or cuda:N; not part of a plan file
    int64_t memoryBytes = 0;  ///< resident, of the whole process; 0: no limit; not part of a plan
    AugmentOptions augment;
    std::vector<int64_t> contextSizes;  ///< px, besides patch_size_pixels; drawn batch by batch
};

/// The file that `train --config` reads: a model to make and how to fit it.
struct TrainingPlan {
    ModelConfig model;
    TrainingOptions options;

    /// Throws ModelError with path and key. Class names come from the data.
    static TrainingPlan load(const std::filesystem::path& path);
};

struct TrainingProgress {
    int64_t epoch = 0, epochs = 0, step = 0, steps = 0;
    double loss = 0;                 ///< mean of this epoch so far
    double validationAccuracy = -1;  ///< of the last epoch; below 0 where not measured
    double secondsLeft = 0;
    double samplesPerSecond = 0;
};

class Trainer {
  public:
    using Report = std::function<void(const TrainingProgress&)>;

    /// Checkpoints lie in `out`/checkpoint; a run with the same plan and data goes on from there.
    /// `start`: a model folder whose weights are the first; empty: random ones.
    Trainer(TrainingPlan plan, const Dataset& data, const Dataset* validation,
            std::filesystem::path out, std::filesystem::path start = {});

    /// Throws ModelError before the first step where batches of the plan take more memory than
    /// allowed: a smaller batch would learn something else.
    /// True when finished; false when stopped (the checkpoint of the last epoch is kept).
    /// Writes `out`/config.json and model.safetensors at the end of every epoch.
    bool run(std::stop_token stop, const Report& report);

  private:
    TrainingPlan plan_;
    const Dataset& data_;
    const Dataset* validation_;
    std::filesystem::path out_, first_;
};

struct Evaluation {
    std::vector<std::string> classNames;
    std::vector<bool> arrangementOnly;
    std::vector<std::vector<int64_t>> confusion;  ///< [truth][prediction], contexts of clear truth
    int64_t count = 0, right = 0;
    int64_t batch = 0;                       ///< contexts at once, at most
    int64_t mixedCount = 0, mixedRight = 0;  ///< contexts below 60 % of one class, apart
    double secondsPerSample = 0;
    std::string device;  ///< where, why, and in which precision

    /// One context more; `share` of its area is of the class `truth`.
    void add(int truth, int predicted, double share);
    double accuracy() const {
        return count ? static_cast<double>(right) / static_cast<double>(count) : 0;
    }
    double classAccuracy(size_t label) const;
    /// Over the classes of that kind; 0 where there are none.
    double groupAccuracy(bool arrangement) const;
    nlohmann::json toJson() const;
};

/// Wilson's 95 % interval of a share.
std::array<double, 2> wilsonInterval(int64_t right, int64_t count);

/// Classifies every sample of `data` with the model folder, as contexts of `side` px (0: those that
/// it was made for; networks other than Atlas take no others). Class names are matched by name;
/// throws ModelError where they differ. `memoryBytes`: resident, of the whole process; as many
/// contexts at once as stay within it, ModelError where one does not; 0: no limit.
Evaluation evaluateModel(const std::filesystem::path& modelDir, const Dataset& data,
                         int64_t side = 0, const ClassifierOptions& options = {},
                         std::stop_token stop = {}, int64_t memoryBytes = 0);

}  // namespace atlas::engine
