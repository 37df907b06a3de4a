// SPDX-License-Identifier: Apache-2.0
// Networks and images for the tests of runs.
#pragma once

#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/nn/atlas_runner.h"

namespace atlas::engine {

inline AtlasConfig tinyConfig(WindowMapping mapping) {
    AtlasConfig config;
    config.stemFirstWidth = 8;
    config.stemWidth = 10;
    config.dim = 40;
    config.numClasses = 5;
    config.windowSide = 8;
    config.mapping = mapping;
    config.stages = {{2, 2, 2, true, 2}, {1, 5, 3, false, 1}, {2, 4, 2, true, 1}};
    return config;
}

/// With external attention in the first block of the first stage and in the last stage.
inline AtlasConfig externalConfig(WindowMapping mapping) {
    AtlasConfig config = tinyConfig(mapping);
    const auto external = BlockAttention::External, multiScale = BlockAttention::MultiScale;
    config.stages[0].blocks = {external, multiScale};
    config.stages[0].memorySlots = 7;
    config.stages[2].blocks = {multiScale, external};
    config.stages[2].memorySlots = 33;
    return config;
}

/// Random weights under which no layer is the identity.
inline StateDict randomWeights(const AtlasConfig& config) {
    StateDict weights;
    for (const auto& [name, tensor] : initialAtlasWeights(config, 5)) {
        at::Tensor t = tensor;
        if (name.ends_with("running_var"))
            t = at::rand(tensor.sizes()) + 0.5;
        else if (tensor.dim() == 1 && tensor.is_floating_point())
            t = tensor + at::randn(tensor.sizes()) * 0.2;
        weights[name] = t;
    }
    return weights;
}

/// A network, and the processor's runner of it.
struct Pair {
    AtlasConfig config;
    StateDict weights;
    Atlas network;
    AtlasRunner runner;

    explicit Pair(const AtlasConfig& c)
        : config(c), weights(randomWeights(c)), network(c, weights), runner(folded()) {
        network.fold();
    }
    Atlas folded() const {
        Atlas folded(config, weights);
        folded.fold();
        return folded;
    }
};

/// Everything that the runner gives, within 1e-4 of the peak.
inline void expectEqual(const Trace& mine, const Trace& expected) {
    int compared = 0;
    for (const auto& [name, value] : mine) {
        if (!expected.contains(name)) continue;
        const at::Tensor& other = expected.at(name);
        ASSERT_EQ(value.sizes(), other.sizes()) << name;
        const double peak = std::max(1.0, other.abs().max().item<double>());
        EXPECT_LE((value - other).abs().max().item<double>(), 1e-4 * peak) << name;
        ++compared;
    }
    EXPECT_GT(compared, 8);
}

inline const RunnerRequest kAll{.attention = true, .contributions = true, .probe = {}};

/// An image of noise that follows from the position alone, as a stream.
inline RunnerInput noiseInput(int64_t height, int64_t width, int64_t* pixelsRead = nullptr) {
    RunnerInput input;
    input.height = height;
    input.width = width;
    input.pixels = [=](int64_t, int64_t row, int64_t rows, int64_t column, int64_t columns,
                       float* out, int64_t outRow) {
        if (pixelsRead) *pixelsRead += rows * columns;
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t x = 0; x < 3 * columns; ++x)
                out[y * outRow + x] =
                    std::sin(static_cast<float>((row + y) * 12.9898 + (3 * column + x) * 78.233));
    };
    return input;
}

/// Thrown to cancel a run.
struct Stop {};

}  // namespace atlas::engine
