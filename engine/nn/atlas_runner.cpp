// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_runner.h"

#include <ATen/Parallel.h>

#include <mutex>

#include "engine/nn/block_runner.h"
#include "engine/nn/cpu_stem.h"
#include "engine/nn/device_blocks.h"
#include "engine/nn/device_stem.h"
#include "engine/nn/model_error.h"
#include "engine/nn/runner_pass.h"

namespace atlas::engine {
namespace {

std::vector<uint8_t> maskOf(const at::Tensor& mask, const RunnerInput& input) {
    if (!mask.defined()) return {};
    const at::Tensor plain = mask.to(at::kCPU, at::kByte).contiguous();
    if (plain.dim() != 3 || plain.size(0) != input.images ||
        plain.size(1) != (input.height + kStemTokenPx - 1) / kStemTokenPx ||
        plain.size(2) != (input.width + kStemTokenPx - 1) / kStemTokenPx)
        throw ModelError("token mask: its shape is not that of the tokens");
    const uint8_t* first = plain.const_data_ptr<uint8_t>();
    return {first, first + plain.numel()};
}

}  // namespace

/// What stays the same from run to run, and the engines that runs take and give back.
class AtlasRunner::Impl {
  public:
    Impl(const Atlas& network, bool bf16) {
        model.config = network.config();
        model.bf16 = bf16;
        const CpuKernels& kernels = cpuKernels();
        model.stem = std::make_unique<CpuStem>(network.stem(), model.config);
        model.readout = {network.readoutNorm(), network.fcNorm(), network.fc()};
        model.weightBytes = model.stem->weightBytes();
        for (const auto& stage : network.stages()) {
            packed_.emplace_back();
            for (const auto& block : stage.blocks()) {
                packed_.back().emplace_back(block, model.config.dim, kernels, bf16);
                model.weightBytes += packed_.back().back().bytes();
            }
        }
        make_ = [this, &kernels] {
            return std::make_unique<BlockRunner>(kernels, packed_, model.config);
        };
    }

    struct OnDevice {};
    Impl(const Atlas& network, OnDevice, bool bf16) : network_(network) {
        model.config = network.config();
        model.bf16 = bf16;
        model.stem = std::make_unique<DeviceStem>(network.stem(), model.config);
        model.readout = {network.readoutNorm(), network.fcNorm(), network.fc()};
        make_ = [this, bf16] { return std::make_unique<DeviceBlocks>(*network_, bf16); };
    }

    RunnerModel model;
    bool onDevice() const { return network_.has_value(); }

    RunnerOutput run(const RunnerInput& input, const RunnerRequest& request,
                     const RunnerOptions& options,
                     const std::function<void(const RunnerProgress&)>& progress) {
        const Loan blocks(*this);
        return runPass(model, *blocks.engine, input, request, options, progress);
    }

  private:
    struct Loan {
        explicit Loan(Impl& impl) : from(impl), engine(impl.take()) {}
        ~Loan() { from.giveBack(std::move(engine)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Impl& from;
        std::unique_ptr<BlockEngine> engine;
    };

    std::unique_ptr<BlockEngine> take() {
        const std::lock_guard lock(mutex_);
        if (idle_.empty()) return make_();
        auto blocks = std::move(idle_.back());
        idle_.pop_back();
        return blocks;
    }
    void giveBack(std::unique_ptr<BlockEngine> blocks) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(blocks));
    }

    PackedStages packed_;           // of the processor
    std::optional<Atlas> network_;  // of a device
    std::function<std::unique_ptr<BlockEngine>()> make_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<BlockEngine>> idle_;  // with buffers that earlier runs made
};

AtlasRunner::AtlasRunner(const Atlas& network, bool bf16)
    : impl_(std::make_unique<Impl>(network, bf16)) {}
AtlasRunner::AtlasRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AtlasRunner AtlasRunner::onDevice(const Atlas& network, bool bf16) {
    return AtlasRunner(std::make_unique<Impl>(network, Impl::OnDevice{}, bf16));
}
AtlasRunner::~AtlasRunner() = default;
AtlasRunner::AtlasRunner(AtlasRunner&&) noexcept = default;

const AtlasConfig& AtlasRunner::config() const {
    return impl_->model.config;
}

RunnerOutput AtlasRunner::run(const RunnerInput& input, const RunnerRequest& request,
                              const RunnerOptions& options,
                              const std::function<void(const RunnerProgress&)>& progress) const {
    const at::NoGradGuard noGradient;
    if (input.height < 1 || input.width < 1) throw ModelError("the image has no pixels");
    if (impl_->onDevice() && (request.probe || request.flow))
        throw ModelError("attention is probed and followed back on the processor alone");
    const int64_t threads =
        impl_->onDevice() || at::in_parallel_region() ? 1 : at::get_num_threads();
    const bool plain = options.memoryBytes == 0 && options.scratch.empty() && !progress;
    if (plain && threads > 1 && input.images >= threads)
        return runSideBySide(input, request, options, threads);
    return impl_->run(input, request, options, progress);
}

/// A thread runs some of the images alone: no thread ever waits for another one, which costs most
/// where a network is small or the processor has other things to do.
RunnerOutput AtlasRunner::runSideBySide(const RunnerInput& input, const RunnerRequest& request,
                                        const RunnerOptions& options, int64_t threads) const {
    std::vector<RunnerOutput> outputs(static_cast<size_t>(threads));
    const auto tokens = static_cast<int64_t>(input.tokenMask.size()) / input.images;
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        const at::NoGradGuard noGradient;
        for (int64_t t = begin; t < end; ++t) {
            const int64_t first = input.images * t / threads,
                          last = input.images * (t + 1) / threads;
            RunnerInput part;
            part.images = last - first;
            part.height = input.height;
            part.width = input.width;
            if (input.pixels)
                part.pixels = [&, first](int64_t b, int64_t row, int64_t rows, int64_t column,
                                         int64_t columns, float* out, int64_t outRow) {
                    input.pixels(first + b, row, rows, column, columns, out, outRow);
                };
            if (tokens > 0)
                part.tokenMask.assign(input.tokenMask.begin() + first * tokens,
                                      input.tokenMask.begin() + last * tokens);
            if (input.tokens.defined()) part.tokens = input.tokens.slice(0, first, last);
            RunnerRequest asked = request;
            if (first > 0) asked.probe.reset();  // that is of the first image
            outputs[static_cast<size_t>(t)] = impl_->run(part, asked, options, {});
        }
    });
    RunnerOutput all = std::move(outputs[0]);
    std::vector<at::Tensor> logits;
    all.tokenBytes = 0;
    all.windowsSkipped = 0;
    outputs[0].logits = all.logits;
    for (const auto& output : outputs) {
        logits.push_back(output.logits);
        all.windowsSkipped += output.windowsSkipped / static_cast<double>(threads);
    }
    all.logits = at::cat(logits);
    for (auto& [name, value] : all.trace) {
        if (name == "baseline" || name.find(".probe.") != std::string::npos) continue;
        std::vector<at::Tensor> parts{value};
        for (size_t t = 1; t < outputs.size(); ++t) parts.push_back(outputs[t].trace.at(name));
        value = at::cat(parts);
    }
    return all;
}

RunnerOutput AtlasRunner::run(const at::Tensor& image, const at::Tensor& tokenMask,
                              const RunnerRequest& request, const RunnerOptions& options) const {
    const at::Tensor flat = image.dim() == 5 ? image.squeeze(2) : image;
    if (flat.dim() != 4 || flat.size(1) != impl_->model.config.inChannels)
        throw ModelError("Atlas: the input must be [B, " +
                         std::to_string(impl_->model.config.inChannels) + ", H, W]");
    const at::Tensor plain = flat.to(at::kCPU, at::kFloat).contiguous();
    RunnerInput input;
    input.images = plain.size(0);
    input.height = plain.size(2);
    input.width = plain.size(3);
    input.pixels = [&](int64_t b, int64_t row, int64_t rows, int64_t column, int64_t columns,
                       float* out, int64_t outRow) {
        pixelsOfPlanes(plain, b, row, rows, column, columns, out, outRow);
    };
    input.tokenMask = maskOf(tokenMask, input);
    return run(input, request, options, {});
}

RunnerOutput AtlasRunner::runTokens(const at::Tensor& tokens, const at::Tensor& tokenMask,
                                    const RunnerRequest& request) const {
    if (tokens.dim() != 4 || tokens.size(3) != impl_->model.config.dim)
        throw ModelError("Atlas: the tokens must be [B, h, w, " +
                         std::to_string(impl_->model.config.dim) + "]");
    RunnerInput input;
    input.images = tokens.size(0);
    input.height = tokens.size(1) * kStemTokenPx;
    input.width = tokens.size(2) * kStemTokenPx;
    input.tokens = tokens.to(at::kCPU, at::kFloat).contiguous();
    input.tokenMask = maskOf(tokenMask, input);
    return run(input, request, {}, {});
}

}  // namespace atlas::engine
