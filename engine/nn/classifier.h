// SPDX-License-Identifier: Apache-2.0
// A model folder, opened and ready to classify contexts. Plain types only: users of this header
// need no LibTorch. One thread at a time may call
// classify() and analyse().
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/nn/probe_point.h"

namespace atlas::engine {

/// A square of patchSizePx pixels at the model's resolution.
struct ContextPixels {
    std::vector<uint8_t> rgba;  ///< rows of 4 bytes a pixel; alpha 0 = no data
    /// [side, side, inputBands]: what the image holds, for models that ask for more than 8-bit
    /// colour; 0 where there is no data. Empty: `rgba` is what the model is given.
    std::vector<float> values = {};
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
    /// Of segmentation: the probability of each class at each pixel, a map a class; all 0 where
    /// there is no data. `probabilities` is then their mean.
    std::vector<ScaleMap> segments;
};

/// A map over the tokens of one scale that lie in the image; NaN where no token takes part.
struct TokenGrid {
    int scale = 0;
    int64_t rows = 0, columns = 0;
    int bands = 1;
    std::vector<float> values;  ///< [bands, rows, columns]
};

/// Maps from gradients, of networks that show no attention.
enum class GradientMap { None, Input, GradCam };

/// What is asked about one context, and what is changed in it before.
struct AnalysisRequest {
    std::optional<ProbePoint> probe;
    bool contributions = false;
    bool flow = false;  ///< attention followed back through every block (AttentionFlow)
    GradientMap gradient = GradientMap::None;
    int gradientClass = -1;  ///< whose score; -1: the best
    int scaleOff = -1;       ///< no other scale sees the keys of this one (pooling stays)
    /// Finest tokens that take part, [side, side] of ceil(patchSizePx / 16); empty: those with
    /// data.
    std::vector<uint8_t> tokenMask;
};

struct ContextAnalysis {
    std::vector<float> logits, probabilities;  ///< empty where no token takes part
    /// What the probed token attends to: a map for each scale that it sees, empty (side 0) for the
    /// others. Finest first. The weights sum to 1; of other networks than Atlas what goes to global
    /// tokens or to padding is missing.
    std::vector<ScaleMap> probe;
    /// Spec 12: what each token gives to each class's logit, a band a class, of the scales that the
    /// head reads; with `baseline` they sum to the logits.
    std::vector<TokenGrid> contributions;
    std::vector<float> baseline;
    /// Input first, readout last; maps as in FlowDepth, without the padding of the square.
    struct Depth {
        int stage = 0, block = 0;    ///< before this block; stage -1: the input
        std::vector<ScaleMap> maps;  ///< side 0 where the scale is not there
    };
    std::vector<Depth> flow;
    ScaleMap gradient;  ///< over the context; above 0 where the score hangs on it
    int gradientClass = 0;
};

struct ClassifierOptions {
    std::string device = "auto";     ///< auto, cpu, cuda, cuda:N or cpu:libtorch
    std::string precision = "fp32";  ///< auto, fp32 or bf16
    int threads = 0;                 ///< 0: LibTorch's choice
    std::filesystem::path cache;     ///< folder that remembers what `auto` measured; may be empty
    /// Is given the bytes of a TorchScript file, which is code, before any of them runs, and says
    /// why they must not; an empty text lets them run. Without it no code runs.
    std::function<std::string(std::string_view code)> refuseCode = {};
};

/// A device has too little memory for what was asked; less at once may work.
class OutOfMemory : public std::runtime_error {
  public:
    /// `tried`: what it went on with before it gave up, a line each, for the record of the run.
    explicit OutOfMemory(const std::string& cause, std::vector<std::string> tried = {})
        : std::runtime_error(cause), tried(std::move(tried)) {}
    std::vector<std::string> tried;
};

/// A whole image as one context, at the model's resolution. Rows of pixels are asked for once,
/// from the top down (of very wide images in panels that overlap by 176 px).
struct WholeImage {
    int64_t height = 0, width = 0;  ///< model pixels
    /// Writes RGBA pixels [rows][columns] of a rectangle; alpha 0 = no data. May throw.
    std::function<void(int64_t row, int64_t rows, int64_t column, int64_t columns, uint8_t* rgba)>
        pixels;
    /// [ceil(height/16), ceil(width/16)], 0 = left out; empty: every token takes part.
    std::vector<uint8_t> tokenMask;
};

struct WholeOptions {
    bool attention = true;
    int64_t memoryBytes = 0;        ///< 0: no limit
    std::filesystem::path scratch;  ///< for the scratch file, and checkpoints where `key` is set
    std::string key;                ///< identity of image, mask and parameters; empty: none kept
};

/// Called between pieces of work: "stem" or "blocks" and the share of all arithmetic that is done.
/// May throw, which cancels; a later call with the same key goes on from the last checkpoint.
using WholeProgress = std::function<void(const char* part, double done)>;

struct WholeResult {
    std::vector<float> probabilities, logits;
    std::vector<float> baseline;      ///< of each class: the logit without any token
    std::vector<TokenGrid> received;  ///< as ContextResult, finest first
    TokenGrid mass;                   ///< over the finest tokens, a band a scale
    std::vector<float> meanMass;
    std::vector<TokenGrid> contributions;  ///< of the scales that the head reads, a band a class
    int scales = 0;                        ///< that the image has
    int scalesWithWeights = 0;             ///< that the network has weights of their own for
    double windowsSkipped = 0;             ///< share of the finest windows without a token
    int64_t tokenBytes = 0, scratchTraffic = 0;
    bool usedScratchFile = false;
    std::vector<std::string> notes;  ///< what the run had to do without
};

/// Threads of every network in this process from now on; 0: leaves LibTorch's choice.
void setThreads(int threads);
/// The number of threads that networks use in this process now.
int threadsInUse();

class Classifier {
  public:
    /// Throws ModelError with path and cause.
    static std::unique_ptr<Classifier> open(const std::filesystem::path& modelDir,
                                            const ClassifierOptions& options);
    virtual ~Classifier() = default;

    virtual const ModelConfig& config() const = 0;
    /// Which device is used, and why; one line.
    virtual std::string deviceReason() const = 0;
    /// Whether that is the processor's own path, so that no other one is left where memory is
    /// short.
    virtual bool isOnProcessor() const = 0;
    virtual std::string versions() const = 0;
    /// "fp32" or "bf16": what the network computes in, whatever was asked for.
    virtual std::string precision() const { return "fp32"; }
    /// What the user should know of the way in which the network computes, a sentence each; for the
    /// record of every run.
    const std::vector<std::string>& warnings() const { return warnings_; }

    /// Contexts without a single valid pixel give empty probabilities.
    virtual std::vector<ContextResult> classify(const std::vector<ContextPixels>& contexts,
                                                bool attention) const = 0;

    /// One context, looked into. On the processor, in float32. Throws ModelError.
    virtual ContextAnalysis analyse(const ContextPixels& context,
                                    const AnalysisRequest& request) const = 0;

    /// On the device: its memory holds the tokens, else the host's, else a scratch file. Throws
    /// ModelError, and OutOfMemory where even half and a quarter of the device's memory, less being
    /// done at once, were too little; the processor can then go on from the last checkpoint.
    virtual WholeResult classifyWhole(const WholeImage& image, const WholeOptions& options,
                                      const WholeProgress& progress) const = 0;

  protected:
    std::vector<std::string> warnings_;
};

}  // namespace atlas::engine
