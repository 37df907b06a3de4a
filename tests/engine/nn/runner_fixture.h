// SPDX-License-Identifier: Apache-2.0
// Networks and images for the tests of runs.
#pragma once

#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/nn/atlas_runner.h"
#include "engine/nn/model_error.h"

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

/// Every value of `b` within `share` of the peak of `a`; the largest difference.
inline double expectNear(const Trace& a, const Trace& b, double share) {
    double largest = 0;
    for (const auto& [name, value] : a) {
        const double peak = std::max(1.0, value.abs().max().item<double>());
        const double gap = (b.at(name) - value).abs().max().item<double>();
        EXPECT_LE(gap, share * peak) << name;
        largest = std::max(largest, gap);
    }
    return largest;
}

/// As Atlas::forward without scale `off`; what the runner gave.
inline RunnerOutput expectPlainForwardWithout(int64_t off, const Pair& pair,
                                              const AtlasRunner& runner, const at::Tensor& image) {
    TraceRequest request;
    request.attention = request.contributions = true;
    request.scaleOff = off;
    Trace expected;
    pair.network.forward(image, {}, request, &expected);
    RunnerRequest asked{.attention = true, .contributions = true, .probe = {}};
    asked.scaleOff = off;
    RunnerOutput output = runner.run(image, {}, asked);
    expectEqual(output.trace, expected);
    return output;
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

/// Batches, sides that are no multiples of anything, masks: all of it as Atlas::forward.
inline void expectPlainForward(const Pair& pair, const AtlasRunner& runner,
                               const RunnerOptions& options) {
    const TraceRequest request{
        .attention = true, .contributions = true, .intermediate = false, .probe = {}};
    for (const auto& [images, h, w] : {std::tuple<int64_t, int64_t, int64_t>{1, 512, 512},
                                       {2, 300, 130},
                                       {1, 64, 900},
                                       {3, 40, 40},
                                       {1, 1030, 700}})
        for (const bool masked : {false, true}) {
            SCOPED_TRACE(std::to_string(h) + " x " + std::to_string(w) + (masked ? " masked" : ""));
            const at::Tensor image = at::randn({images, 3, h, w});
            at::Tensor mask;
            if (masked) {
                mask = at::randint(0, 4, {images, (h + 15) / 16, (w + 15) / 16}, at::kInt) == 0;
                mask.slice(1, 0, 1).slice(2, 0, 1).fill_(1);
                if (mask.size(1) > 40) mask.slice(1, 8, 24).fill_(0);  // windows without a token
            }
            Trace expected;
            pair.network.forward(image, mask, request, &expected);
            const RunnerOutput output = runner.run(image, mask, kAll, options);
            expectEqual(output.trace, expected);
            for (const auto& [name, value] : expected)
                if (name.starts_with("stage0.attention.")) {
                    EXPECT_TRUE(output.trace.contains(name)) << name;
                }
            if (masked && h > 1000) {
                EXPECT_GT(output.windowsSkipped, 0.1);
            }
        }
}

/// RunnerOptions::memoryBytes just enough for everything but the finest tokens: found by asking.
inline int64_t leastMemory(const AtlasRunner& runner, const RunnerInput& input,
                           RunnerOptions options) {
    for (options.memoryBytes = int64_t{380} << 20;; options.memoryBytes += 1 << 18) try {
            runner.run(input, kAll, options, [](const RunnerProgress&) { throw Stop{}; });
        } catch (const Stop&) {
            return options.memoryBytes;
        } catch (const ModelError&) {
        }
}

}  // namespace atlas::engine
