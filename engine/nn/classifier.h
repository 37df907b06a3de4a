// SPDX-License-Identifier: Apache-2.0
// A model folder, opened and ready to classify contexts. Plain types only: users of this header
// need no LibTorch. One thread at a time may call classify() and probe().
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/nn/model_config.h"

namespace atlas::engine {

/// A square of patchSizePx pixels at the model's resolution: RGBA rows, alpha 0 = no data.
struct ContextPixels {
    std::vector<uint8_t> rgba;
};

/// A map over the tokens of one scale, [side, side], row by row.
struct ScaleMap {
    int64_t side = 0;
    std::vector<float> values;
};

struct ContextResult {
    std::vector<float> probabilities;
    /// Attention received by each token in the last block that holds its scale, in multiples of
    /// an even share (1 = as much as the average token); 0 at invalid tokens. Finest first.
    std::vector<ScaleMap> received;
    /// For each scale t: the share of a finest token's attention that falls on scale t (first
    /// stage, last block); over t they sum to 1 at valid tokens.
    std::vector<ScaleMap> mass;
    std::vector<float> meanMass;  ///< of `mass`, over valid tokens, one a scale
};

struct ClassifierOptions {
    std::string device = "auto";     ///< auto, cpu, cuda or cuda:N
    std::string precision = "fp32";  ///< auto, fp32 or bf16
    int threads = 0;                 ///< 0: LibTorch's choice
};

class Classifier {
  public:
    /// Throws ModelError with path and cause.
    static std::unique_ptr<Classifier> open(const std::filesystem::path& modelDir,
                                            const ClassifierOptions& options);
    virtual ~Classifier() = default;

    virtual const ModelConfig& config() const = 0;
    /// Which device is used, and why; one line.
    virtual std::string deviceReason() const = 0;
    virtual std::string versions() const = 0;

    /// Contexts without a single valid pixel give empty probabilities.
    virtual std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                                bool attention) const = 0;

    /// What one token of `scale` attends to in the first stage that holds it: a map for each scale
    /// that it sees, empty (side 0) for the others. Finest first. The weights sum to 1.
    virtual std::vector<ScaleMap> probe(const ContextPixels& context, int scale, int64_t row,
                                        int64_t column) const = 0;
};

}  // namespace atlas::engine
