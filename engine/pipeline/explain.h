// SPDX-License-Identifier: Apache-2.0
// Questions about one context of an image: what a token attends to, what each place gives to each
// class, what changes without a scale or a region, and whether the maps point at what matters.
#pragma once

#include <array>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_plan.h"
#include "engine/pipeline/run_request.h"
#include "io/color_source.h"
#include "io/export/raster_file.h"

namespace atlas::engine {

/// A context of a run's grid, with its pixels.
struct ContextView {
    double x = 0, y = 0, width = 0, height = 0;  ///< level-0 pixels
    int64_t side = 0;                            ///< of `pixels`
    ContextPixels pixels;
};

/// The context of the grid of `request` (region, overlap) that holds level-0 point (x, y). Throws
/// std::runtime_error, e.g. where the point lies outside, or for whole-image runs.
ContextView contextAt(const io::ColorSource& image, const ModelConfig& model,
                      const RunRequest& request, double x, double y);

/// Where in the network the probe looks; -1 as in ProbePoint.
struct ProbeWhere {
    int scale = 0, stage = -1, block = -1, head = -1;
};

struct ProbeResult {
    double contextX = 0, contextY = 0, contextWidth = 0, contextHeight = 0;  ///< level-0 pixels
    io::GridRaster token;  ///< one cell: the token asked about
    std::vector<io::GridRaster>
        scales;                ///< attention weights; width 0 where it sees none. Finest first
    std::vector<double> mass;  ///< sum of the weights of each scale
};
/// What the token under a point attends to. Throws std::runtime_error.
ProbeResult probeAt(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& request, const ProbeWhere& where, double x, double y);

/// Each token's share of each class's logit (spec 12).
struct ContributionResult {
    ContextView context;
    std::vector<float> logits, probabilities, baseline;
    std::vector<int> scales;           ///< those that the head reads
    std::vector<io::GridRaster> maps;  ///< of each of them, a band a class
};
ContributionResult contributionsAt(const io::ColorSource& image, const Classifier& classifier,
                                   const RunRequest& request, double x, double y);

/// From where the answer's tokens were made, block by block (rollout across scales).
struct FlowResult {
    struct Depth {
        int stage = 0, block = 0;            ///< before this block; stage -1: the input
        std::vector<io::GridRaster> scales;  ///< shares, all together 1; width 0: not there
    };
    ContextView context;
    std::vector<Depth> depths;  ///< the input first, the readout last
};
FlowResult flowAt(const io::ColorSource& image, const Classifier& classifier,
                  const RunRequest& request, double x, double y);

/// Where the answer hangs on the picture, for networks without attention of their own too.
enum class Saliency {
    Occlusion,      ///< how far the probability falls when a square is blurred; any network
    InputGradient,  ///< how much a small change of the pixels changes the score
    GradCam         ///< the last feature map, weighted by the score's gradient; TorchScript
};
struct SaliencyResult {
    ContextView context;
    std::string method;  ///< "occlusion", "input gradient" or "Grad-CAM"
    int label = 0;       ///< the class that was asked about
    io::GridRaster map;  ///< occlusion is signed: below 0 the answer grew surer
};
/// Of the best class where `label` is below 0. Throws std::runtime_error.
SaliencyResult saliencyAt(const io::ColorSource& image, const Classifier& classifier,
                          const RunRequest& request, Saliency kind, int label, double x, double y);

/// What is changed before the context is classified again.
struct WhatIf {
    enum class Change {
        ScaleOff,   ///< no other scale sees the keys of `scale`; pooling stays
        Blur,       ///< the region's pixels are blurred
        MaskTokens  ///< the finest tokens in the region take no part
    };
    Change change = Change::Blur;
    int scale = 0;
    io::Rect region;  ///< level-0 pixels
    /// Of a brushed or drawn region instead of the rectangle: rings, level-0 pixels, filled
    /// odd-even.
    std::vector<std::vector<std::array<double, 2>>> outline;
};
struct WhatIfResult {
    ContextView context;
    std::string change;                ///< in words, with sizes
    std::vector<float> before, after;  ///< probabilities; `after` is empty where nothing is left
};
WhatIfResult whatIf(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& request, const WhatIf& change, double x, double y);

/// Pixels blurred so far that no structure below a 16th of the context's side is left.
ContextPixels blurred(const ContextPixels& context, int64_t side);

/// Does blurring the most attended places lower the answer's probability faster than blurring
/// random ones? One curve for each map.
struct FaithfulnessCurve {
    std::string map;  ///< "attention" or "contributions"
    int scale = 0;
    /// Mean probability of the unblurred answer with 0, 10, ... 100 % of the places blurred.
    std::vector<double> ranked, random, randomLow, randomHigh;
    double gain = 0;                   ///< area between random and ranked, mean over contexts
    double gainLow = 0, gainHigh = 0;  ///< 95 % interval over contexts (Student's t)
    /// Only then does the map point at what matters, as far as this test can tell.
    bool betterThanRandom() const { return gainLow > 0; }
};
struct FaithfulnessResult {
    int contexts = 0, randomOrders = 0;
    std::vector<FaithfulnessCurve> curves;
};
struct FaithfulnessOptions {
    int contexts = 6;  ///< spread over the run, of those classified with data; at least 2
    int randomOrders = 5;
    uint64_t seed = 1;
};
/// `progress` gets the share done, 0 to 1. Empty result when stopped. Throws std::runtime_error.
FaithfulnessResult faithfulness(const io::ColorSource& image, const Classifier& classifier,
                                const RunRequest& request, const FaithfulnessOptions& options,
                                std::stop_token stop, const std::function<void(double)>& progress);

}  // namespace atlas::engine
