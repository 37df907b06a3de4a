// SPDX-License-Identifier: Apache-2.0
// Atlas at inference in bounded memory, for a batch of contexts as for a whole gigapixel image as
// one context: on the processor, where it is the fastest way here, or on a device. Equal to
// Atlas::forward to rounding.
//
// Pixels stream through the stem row by row (cpu_stem.h) or tile by tile (device_stem.h); the
// finest tokens lie in the device's memory, the host's or a mapped scratch file, and each block
// reads and writes them once; the coarse scales, 1/15 of the tokens, stay in memory. Windows
// without a valid token cost nothing.
//
//     AtlasRunner runner(network);                // folded, float32, on the processor
//     RunnerOutput out = runner.run(input, {.attention = true}, {}, {});
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "engine/nn/atlas.h"
#include "engine/nn/attention_flow.h"

namespace atlas::engine {

/// Pixels of a batch of images of one size.
struct RunnerInput {
    int64_t images = 1;
    int64_t height = 0, width = 0;  ///< pixels
    /// Writes normalised pixels [rows][columns][channels] of a rectangle; rows of `out` are
    /// `outRow` floats apart. May throw, which ends the run.
    std::function<void(int64_t image, int64_t row, int64_t rows, int64_t column, int64_t columns,
                       float* out, int64_t outRow)>
        pixels;
    /// [images, ceil(height/16), ceil(width/16)], 0 = left out (spec 11); empty: all.
    std::vector<uint8_t> tokenMask;
    /// [images, h, w, dim] float32: the stem's result, in place of `pixels`; or undefined.
    at::Tensor tokens;
};

struct RunnerRequest {
    bool attention = false;
    bool contributions = false;
    std::optional<ProbePoint> probe;
    int64_t scaleOff = -1;  ///< as TraceRequest
    bool flow = false;      ///< follow attention back to the input; of one image
};

struct RunnerOptions {
    int64_t memoryBytes = 0;  ///< of the host; 0: no limit; else tokens go to a scratch file
    int64_t deviceBytes = 0;  ///< of a device; 0: what is free; else tokens go to the host's memory
    std::filesystem::path scratch;  ///< folder for the scratch file and for checkpoints
    bool checkpoints = false;       ///< keep the state in `scratch`, and go on from it
    std::string key;                ///< identity of input and network; another one starts anew
    double checkpointSeconds = 60;  ///< least time between two of a stage's blocks
};

/// Called between pieces of work; may throw to cancel the run.
struct RunnerProgress {
    const char* part = "";  ///< "stem" or "blocks"
    double done = 0;        ///< share of the arithmetic, 0 to 1
};

struct RunnerOutput {
    at::Tensor logits;  ///< [images, classes]
    Trace trace;        ///< names of spec 8 and 12, as Atlas::forward gives them
    std::vector<FlowDepth> flow;
    std::shared_ptr<const AttentionFlow> attention;  ///< what `flow` was made of
    double windowsSkipped = 0;   ///< share of the finest windows without a valid token
    int64_t tokenBytes = 0;      ///< of the finest scale
    int64_t scratchTraffic = 0;  ///< bytes of tokens read from and written to the scratch file
    bool usedScratchFile = false;
};

class AtlasRunner {
  public:
    /// Throws ModelError. The network is not needed afterwards. `bf16`: convolutions of the stem
    /// and products of the blocks in bfloat16; the latter where the processor has tiles for it,
    /// else in float32. Sums, norms and attention stay float32.
    explicit AtlasRunner(const Atlas& network, bool bf16 = false);
    /// By LibTorch's operations, on the device where the folded `network` lies (the processor,
    /// too). `bf16`: convolutions and products in bfloat16. Neither probes nor follows attention.
    static AtlasRunner onDevice(const Atlas& network, bool bf16 = false);
    ~AtlasRunner();
    AtlasRunner(AtlasRunner&&) noexcept;

    /// Thread-safe. Of a batch, `pixels` may be called by several threads at once. Throws
    /// ModelError, std::runtime_error for the scratch file, and whatever the callbacks throw.
    RunnerOutput run(const RunnerInput& input, const RunnerRequest& request,
                     const RunnerOptions& options,
                     const std::function<void(const RunnerProgress&)>& progress) const;

    /// image: [B, channels, H, W]; tokenMask: uint8 or bool [B, h, w] or undefined.
    RunnerOutput run(const at::Tensor& image, const at::Tensor& tokenMask,
                     const RunnerRequest& request, const RunnerOptions& options = {}) const;

    /// As run(), from tokens [B, h, w, dim] instead of pixels.
    RunnerOutput runTokens(const at::Tensor& tokens, const at::Tensor& tokenMask,
                           const RunnerRequest& request) const;

    const AtlasConfig& config() const;

  private:
    class Impl;
    explicit AtlasRunner(std::unique_ptr<Impl> impl);
    RunnerOutput runSideBySide(const RunnerInput& input, const RunnerRequest& request,
                               const RunnerOptions& options, int64_t threads) const;
    std::unique_ptr<Impl> impl_;
};

}  // namespace atlas::engine
