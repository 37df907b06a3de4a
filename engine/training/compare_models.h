// SPDX-License-Identifier: Apache-2.0
// Several models over the same labelled contexts: how right, how fast, how large, how alike.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/training/dataset.h"

namespace atlas::engine {

struct ModelScore {
    std::string name, architecture, device;
    int64_t patchPx = 0;
    int64_t count = 0, right = 0;  ///< right: -1 where the model lacks a class of the data
    double secondsPerMegapixel = 0;
    int64_t peakBytes = 0;     ///< of the process above what it had before; 0: not known
    std::vector<int> answers;  ///< by class name of all models; one a sample
};

struct ModelComparison {
    std::vector<ModelScore> models;
    std::vector<std::string> classNames;         ///< of all models
    std::vector<std::vector<double>> agreement;  ///< share of the samples with the same answer
    nlohmann::json toJson() const;
};

/// Each model sees the middle square of its own size of every sample, drawn as large as the largest
/// model's. `options`, one a model. Throws ModelError and io::ReadError.
ModelComparison compareModels(const std::vector<std::filesystem::path>& models,
                              const std::vector<ClassifierOptions>& options, const Dataset& data,
                              int64_t side, std::stop_token stop);

/// The side that compareModels() should draw samples with.
int64_t largestPatch(const std::vector<std::filesystem::path>& models);

}  // namespace atlas::engine
