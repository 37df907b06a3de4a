// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_runner.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>

#include "engine/nn/block_runner.h"
#include "engine/nn/cpu_stem.h"
#include "engine/nn/model_error.h"
#include "engine/nn/runner_checkpoint.h"
#include "engine/nn/runner_readout.h"

namespace atlas::engine {
namespace {

constexpr int64_t kTokenPx = 16;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int64_t kReserveBytes = int64_t{384} << 20;  // program, libraries, buffers of a run

std::vector<uint8_t> maskOf(const at::Tensor& mask, const RunnerInput& input) {
    if (!mask.defined()) return {};
    const at::Tensor plain = mask.to(at::kCPU, at::kByte).contiguous();
    if (plain.dim() != 3 || plain.size(0) != input.images ||
        plain.size(1) != (input.height + kTokenPx - 1) / kTokenPx ||
        plain.size(2) != (input.width + kTokenPx - 1) / kTokenPx)
        throw ModelError("token mask: its shape is not that of the tokens");
    const uint8_t* first = plain.const_data_ptr<uint8_t>();
    return {first, first + plain.numel()};
}

}  // namespace

/// What stays the same from run to run.
class AtlasRunner::Impl {
  public:
    Impl(const Atlas& network, bool inBf16)
        : bf16(inBf16),
          config(network.config()),
          kernels(cpuKernels()),
          stem(network.stem(), network.config()),
          readout{network.readoutNorm(), network.fcNorm(), network.fc()} {
        for (const auto& stage : network.stages()) {
            stages.emplace_back();
            for (const auto& block : stage.blocks())
                stages.back().emplace_back(block, config.dim, kernels, bf16);
        }
        weightBytes = stem.weightBytes();
        for (const auto& stage : stages)
            for (const auto& block : stage) weightBytes += block.bytes();
    }

    bool bf16;
    AtlasConfig config;
    const CpuKernels& kernels;
    CpuStem stem;
    ReadoutLayers readout;
    std::vector<std::vector<PackedBlock>> stages;
    int64_t weightBytes = 0;

    std::unique_ptr<BlockRunner> take() {
        const std::lock_guard lock(mutex_);
        if (idle_.empty())
            return std::make_unique<BlockRunner>(kernels, config.dim, config.poolRatio,
                                                 config.mapping);
        auto blocks = std::move(idle_.back());
        idle_.pop_back();
        return blocks;
    }
    void giveBack(std::unique_ptr<BlockRunner> blocks) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(blocks));
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<BlockRunner>> idle_;  // buffers that earlier runs made
};

/// One run.
class AtlasRunner::Pass {
  public:
    Pass(Impl& impl, const RunnerInput& input, const RunnerRequest& request,
         const RunnerOptions& options, const std::function<void(const RunnerProgress&)>& progress)
        : impl_(impl),
          input_(input),
          request_(request),
          options_(options),
          progress_(progress),
          blocks_(impl.take()) {}
    ~Pass() { impl_.giveBack(std::move(blocks_)); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

    RunnerOutput go() {
        layOut();
        openMemory();
        const bool resumed = load();
        if (!resumed || checkpoint_->position().stage < 0) {
            runStem(resumed ? checkpoint_->position().rows : 0);
            buildCoarse();
            if (request_.flow) beginFlow();
            save(0, 0, true);
        } else {
            doneWork_ = stemWork_;
        }
        for (size_t k = 0; k < impl_.stages.size(); ++k) {
            runStage(k);
            if (k + 1 < impl_.stages.size() && scales_.size() > 1) dropFinest();
        }
        readOut();
        if (checkpoint_) checkpoint_->remove();
        return std::move(output_);
    }

  private:
    int64_t stride() const { return blocks_->stride(); }
    int64_t floatsOf(const TokenScale& scale) const {
        return scale.slots() * scale.tokens() * stride();
    }
    BlockRunner& blocks() { return *blocks_; }

    void layOut() {
        const auto& c = impl_.config;
        tokenRows_ = (input_.height + kTokenPx - 1) / kTokenPx;
        tokenColumns_ = (input_.width + kTokenPx - 1) / kTokenPx;
        if (!input_.tokenMask.empty() && static_cast<int64_t>(input_.tokenMask.size()) !=
                                             input_.images * tokenRows_ * tokenColumns_)
            throw ModelError("token mask: its shape is not that of the tokens");
        const auto side = static_cast<double>(
            legalSide(std::max(tokenRows_, tokenColumns_), c.windowSide, c.poolRatio));
        const double masks = 4 * side * side * static_cast<double>(input_.images);  // bytes
        const double most = options_.memoryBytes > 0 ? static_cast<double>(options_.memoryBytes)
                                                     : static_cast<double>(int64_t{1} << 36);
        if (masks > most)
            throw ModelError("an image of " + std::to_string(input_.width) + " x " +
                             std::to_string(input_.height) +
                             " pixels at the model's resolution is too large as one context");
        layouts_ = layOutScales(input_.images, tokenRows_, tokenColumns_, input_.tokenMask,
                                c.windowSide, c.poolRatio, c.maxScales);
        if (layouts_.size() > static_cast<size_t>(kMostKeySegments))
            throw ModelError("the image has more scales than this program can run");
        const auto& fine = layouts_[0];
        const int64_t w = fine.geometry.window;
        const int64_t covered =
            input_.images * ((tokenRows_ + w - 1) / w) * ((tokenColumns_ + w - 1) / w);
        output_.windowsSkipped =
            1 - static_cast<double>(fine.slots()) / static_cast<double>(covered);
        output_.tokenBytes = floatsOf(fine) * static_cast<int64_t>(sizeof(float));
        for (const auto& layout : layouts_) {
            RunningScale scale;
            scale.layout = &layout;
            scales_.push_back(std::move(scale));
        }
        countWork();
    }

    void openMemory() {
        const int64_t finest = floatsOf(layouts_[0]);
        const int64_t bytes = finest * static_cast<int64_t>(sizeof(float));
        const int64_t others = memoryBesidesFinest(layouts_);
        const bool file = options_.memoryBytes > 0 && !options_.scratch.empty() &&
                          others + bytes > options_.memoryBytes;
        if (options_.memoryBytes > 0 && others > options_.memoryBytes)
            throw ModelError("the image needs at least " + std::to_string(others >> 20) +
                             " MiB, and " + std::to_string(options_.memoryBytes >> 20) +
                             " MiB are allowed (--memory)");
        if (file) std::filesystem::create_directories(options_.scratch);
        finest_ = file ? TokenMemory::inFile(options_.scratch / "tokens-0.bin", finest)
                       : TokenMemory::inRam(finest);
        if (file && options_.checkpoints)
            other_ = TokenMemory::inFile(options_.scratch / "tokens-1.bin", finest);
        output_.usedScratchFile = file;
        scales_[0].tokens = finest_.data();
        for (size_t s = 1; s < layouts_.size(); ++s) {
            coarse_.emplace_back(floatsOf(layouts_[s]));
            scales_[s].tokens = coarse_.back().data();
        }
        if (options_.checkpoints) checkpoint_.emplace(options_.scratch, options_.key);
        bandBytes_ =
            options_.memoryBytes > 0
                ? std::max<int64_t>(int64_t{64} << 20,
                                    (options_.memoryBytes - others - (file ? 0 : bytes)) / 2)
                : int64_t{1} << 30;
    }

    int64_t memoryBesidesFinest(const std::vector<TokenScale>& layouts) const {
        int64_t floats = 0;
        for (size_t s = 1; s < layouts.size(); ++s) floats += 4 * floatsOf(layouts[s]);
        int64_t masks = 0;
        for (const auto& layout : layouts)
            masks += static_cast<int64_t>(layout.map.size() + layout.valid.size());
        // The maps: mass, received, received_up and the total of each scale; and copies of the
        // mass and of the contributions while results are made of them and written.
        if (request_.attention)
            for (const auto& layout : layouts)
                floats += static_cast<int64_t>(layout.map.size() * (layouts.size() + 3));
        if (request_.attention)
            floats += static_cast<int64_t>(4 * layouts[0].map.size() * layouts.size());
        if (request_.contributions) {
            const size_t last = std::min(impl_.stages.size(), layouts.size()) - 1;
            floats += static_cast<int64_t>(4 * layouts[last].map.size()) * impl_.config.numClasses;
        }
        return floats * static_cast<int64_t>(sizeof(float)) + masks + impl_.weightBytes +
               kReserveBytes;
    }

    /// Arithmetic of each part, for the progress.
    void countWork() {
        double perPixel = impl_.stem.flopsPerPixel();
        stemWork_ = perPixel * static_cast<double>(input_.images * input_.height * input_.width);
        double all = stemWork_;
        size_t first = 0;
        for (const auto& stage : impl_.stages) {
            for (const auto& block : stage) all += blockWork(block, first);
            if (first + 1 < layouts_.size()) ++first;
        }
        allWork_ = all;
    }

    double windowWork(const PackedBlock& block, size_t first, size_t s) const {
        const auto& layout = layouts_[s];
        double keys = 0;
        for (size_t t = s; t < layouts_.size(); ++t)
            keys += static_cast<double>(layouts_[t].tokens());
        if (block.memory()) keys = static_cast<double>(block.memory()->slots);
        return static_cast<double>(layout.tokens()) *
               (block.flopsPerToken(s - first) + 4 * keys * static_cast<double>(impl_.config.dim));
    }

    double blockWork(const PackedBlock& block, size_t first) const {
        double work = 0;
        for (size_t s = first; s < layouts_.size(); ++s)
            work += static_cast<double>(layouts_[s].slots()) * windowWork(block, first, s);
        return work;
    }

    void report(const char* part, double work) {
        doneWork_ += work;
        if (progress_) progress_({part, std::min(1.0, doneWork_ / allWork_)});
    }

    // ---- Stem -------------------------------------------------------------------------------

    void runStem(int64_t firstRow) {
        doneWork_ = stemWork_ * static_cast<double>(firstRow) / static_cast<double>(tokenRows_);
        if (layouts_.size() > 1) {
            std::fill_n(scales_[1].tokens, floatsOf(layouts_[1]), kLowest);
            fillPooled(scales_[1]);
        }
        const int64_t window = layouts_[0].geometry.window;
        StemOptions stemOptions;
        stemOptions.bf16 = impl_.bf16;
        stemOptions.bandBytes = bandBytes_;
        lastSaved_ = std::chrono::steady_clock::now();
        for (int64_t b = 0; b < input_.images; ++b) {
            int64_t pooledRows = 0;  // of windows
            const auto poolUntil = [&](int64_t windowRow) {
                for (; pooledRows < windowRow; ++pooledRows) poolRow(b, pooledRows);
            };
            poolUntil(firstRow / window);
            StemImage image;
            image.height = input_.height;
            image.width = input_.width;
            image.pixels = [&](int64_t row, int64_t rows, int64_t column, int64_t columns,
                               float* out, int64_t outRow) {
                input_.pixels(b, row, rows, column, columns, out, outRow);
            };
            if (!input_.tokenMask.empty())
                image.wanted = input_.tokenMask.data() + b * tokenRows_ * tokenColumns_;
            image.firstTokenRow = firstRow;
            image.tokens = [&](int64_t row, int64_t rows, int64_t column, int64_t columns,
                               const float* tokens, int64_t tokenStride) {
                for (int64_t y = row; y < row + rows; ++y)
                    for (int64_t x = column; x < column + columns; ++x)
                        place(b, y, x, tokens + ((y - row) * columns + x - column) * tokenStride,
                              tokenStride);
                report("stem", stemWork_ * static_cast<double>(rows * columns) /
                                   static_cast<double>(tokenRows_ * tokenColumns_ * input_.images));
                const int64_t done = row + rows;
                if (done % window != 0 && done != tokenRows_) return;
                if (columns != tokenColumns_) {
                    // Of an image that is cut into panels, rows are whole at the very end.
                    const auto [from, to] = slotsOfRow(b, (done - 1) / window);
                    releaseChunk(finest_, from, to);
                    return;
                }
                poolUntil((done + window - 1) / window);
                if (input_.images == 1 && due()) write({-1, 0, done, 0});
            };
            if (input_.tokens.defined())
                image.tokens(0, tokenRows_, 0, tokenColumns_,
                             input_.tokens.const_data_ptr<float>() +
                                 b * tokenRows_ * tokenColumns_ * impl_.config.dim,
                             impl_.config.dim);
            else
                impl_.stem.run(image, stemOptions);
            poolUntil((tokenRows_ + window - 1) / window);
        }
        countTraffic(1);
        pooledReady_ = layouts_.size() > 1;
    }

    /// The slots of a row of windows: they lie side by side.
    std::pair<int64_t, int64_t> slotsOfRow(int64_t image, int64_t windowRow) const {
        const TokenScale& layout = layouts_[0];
        int64_t from = 0, to = 0;
        for (int64_t column = 0; column < layout.geometry.rows; ++column) {
            const int64_t slot = layout.slot(image, windowRow, column);
            if (slot < 0) continue;
            if (to == 0) from = slot;
            to = slot + 1;
        }
        return {from, to};
    }

    /// What scale 1 starts from, and what the first block will add to it.
    void poolRow(int64_t image, int64_t windowRow) {
        const TokenScale& layout = layouts_[0];
        const auto [from, to] = slotsOfRow(image, windowRow);
        if (from == to) return;
        if (layouts_.size() > 1) {
            blocks().pool(layout, scales_[0].tokens, nullptr, layouts_[1], scales_[1].tokens, from,
                          to);
            poolFor(impl_.stages[0][0], from, to);
        }
        releaseChunk(finest_, from, to);
    }

    /// Maxima of the finest windows as `block` will see them.
    void poolFor(const PackedBlock& block, int64_t from, int64_t to) {
        const TokenScale& layout = *scales_[0].layout;
        blocks().pool(layout, scales_[0].tokens, block.position(0, layout.geometry.window),
                      *scales_[1].layout, scales_[1].pooled.data(), from, to);
    }

    void place(int64_t image, int64_t y, int64_t x, const float* token, int64_t tokenStride) {
        const TokenScale& layout = layouts_[0];
        const int64_t w = layout.geometry.window, n = layout.geometry.side;
        if (!layout.map[static_cast<size_t>((image * n + y) * n + x)]) return;
        const int64_t slot = layout.slot(image, y / w, x / w);
        float* to = scales_[0].tokens + (slot * layout.tokens() + y % w * w + x % w) * stride();
        std::copy_n(token, std::min(stride(), tokenStride), to);
    }

    void releaseChunk(TokenMemory& memory, int64_t from, int64_t to) {
        const int64_t each = layouts_[0].tokens() * stride();
        memory.release(from * each, to * each);
    }

    /// Scales 2 and up, from the unchanged tokens (spec 4).
    void buildCoarse() {
        for (size_t s = 1; s < scales_.size(); ++s) {
            clearEmpty(s);
            if (s + 1 == scales_.size()) break;
            std::fill_n(scales_[s + 1].tokens, floatsOf(layouts_[s + 1]), kLowest);
            blocks().pool(layouts_[s], scales_[s].tokens, nullptr, layouts_[s + 1],
                          scales_[s + 1].tokens, 0, layouts_[s].slots());
        }
    }

    /// Of which finest tokens the coarse ones were made.
    void beginFlow() {
        flow_ = std::make_shared<AttentionFlow>();
        for (size_t s = 1; s < scales_.size(); ++s)
            flow_->addEdges(
                -1, 0, static_cast<int64_t>(s),
                blocks().poolEdges(layouts_[s - 1], scales_[s - 1].tokens, nullptr, layouts_[s]));
    }

    /// Tokens that are not valid become 0.
    void clearEmpty(size_t s) {
        const TokenScale& layout = *scales_[s].layout;
        for (int64_t slot = 0; slot < layout.slots(); ++slot)
            if (const uint8_t* valid = layout.validOf(slot))
                for (int64_t t = 0; t < layout.tokens(); ++t)
                    if (!valid[t])
                        std::fill_n(scales_[s].tokens + (slot * layout.tokens() + t) * stride(),
                                    stride(), 0.0f);
    }

    // ---- Stages -----------------------------------------------------------------------------

    int64_t chunk(size_t i) const { return blocks_->windowsAtOnce(*scales_[i].layout); }

    void runStage(size_t k) {
        const auto& stage = impl_.stages[k];
        for (size_t d = 0; d < stage.size(); ++d) {
            const double work = blockWork(stage[d], static_cast<size_t>(first_));
            if (checkpoint_ &&
                checkpoint_->isBefore(static_cast<int64_t>(k), static_cast<int64_t>(d))) {
                doneWork_ += work;
                continue;
            }
            const bool lastOfStage = d + 1 == stage.size();
            AttentionRecord record;
            record.trace = &output_.trace;
            record.prefix = "stage" + std::to_string(k) + ".";
            record.first = first_;
            record.maps = request_.attention && lastOfStage;
            record.scaleOff = request_.scaleOff;
            if (request_.probe &&
                request_.probe->wants(static_cast<int64_t>(k), static_cast<int64_t>(d),
                                      static_cast<int64_t>(stage.size())))
                record.probe = request_.probe;
            if (request_.flow) {
                record.flow = flow_.get();
                record.stage = static_cast<int64_t>(k);
                record.block = static_cast<int64_t>(d);
            }
            const PackedBlock* next = lastOfStage ? nullptr : &stage[d + 1];
            runBlock(stage[d], next, record);
            if (next) save(static_cast<int64_t>(k), static_cast<int64_t>(d) + 1, false);
        }
    }

    /// `next`: the block after it in the stage, if any.
    void runBlock(const PackedBlock& block, const PackedBlock* next,
                  const AttentionRecord& record) {
        if (scales_.size() > 1) enterBlock(block, record);
        for (size_t i = scales_.size() - 1; i > 0; --i) {
            const int64_t slots = scales_[i].layout->slots();
            for (int64_t from = 0, step = chunk(i); from < slots; from += step) {
                const int64_t to = std::min(from + step, slots);
                blocks().topDown(block, scales_, i, from, to, nullptr, nullptr, record);
                report("blocks", static_cast<double>(to - from) * work(block, i));
            }
            for (int64_t from = 0, step = chunk(i); from < slots; from += step)
                blocks().share(block, scales_, i, from, std::min(from + step, slots));
        }
        streamFinest(block, next, record);
        for (size_t i = 1; i + 1 < scales_.size(); ++i) {
            const int64_t slots = scales_[i].layout->slots();
            for (int64_t from = 0, step = chunk(i); from < slots; from += step)
                blocks().upwards(block, scales_, i, from, std::min(from + step, slots), record);
        }
    }

    double work(const PackedBlock& block, size_t i) const {
        return windowWork(block, static_cast<size_t>(first_), static_cast<size_t>(first_) + i);
    }

    /// Position embedding and bottom-up sums of the coarse scales (5.1 and 5.2). The finest gets
    /// its embedding when it is read; its maxima were mostly taken when it was written.
    void enterBlock(const PackedBlock& block, const AttentionRecord& record) {
        if (record.flow)
            record.flow->addEdges(
                record.stage, record.block, first_ + 1,
                blocks().poolEdges(*scales_[0].layout, scales_[0].tokens,
                                   block.position(0, scales_[0].layout->geometry.window),
                                   *scales_[1].layout));
        if (!pooledReady_) {
            const int64_t slots = scales_[0].layout->slots();
            fillPooled(scales_[1]);
            for (int64_t from = 0, step = chunk(0); from < slots; from += step) {
                const int64_t to = std::min(from + step, slots);
                poolFor(block, from, to);
                if (first_ == 0) releaseChunk(finest_, from, to);
            }
            if (first_ == 0) countTraffic(1);
        }
        for (size_t i = 1; i < scales_.size(); ++i) {
            RunningScale& scale = scales_[i];
            const TokenScale& layout = *scale.layout;
            const float* p = block.position(i, layout.geometry.window);
            const auto& kernels = impl_.kernels;
            const int64_t each = layout.tokens() * stride();
            at::parallel_for(0, layout.slots(), 4, [&](int64_t begin, int64_t end) {
                for (int64_t slot = begin; slot < end; ++slot) {
                    float* x = scale.tokens + slot * each;
                    kernels.add(x, each, p, each, x, each, 1, each);
                    kernels.add(x, each, scale.pooled.data() + slot * each, each, x, each, 1, each);
                }
            });
            clearEmpty(i);
            if (i + 1 == scales_.size()) break;
            RunningScale& coarser = scales_[i + 1];
            fillPooled(coarser);
            if (record.flow)
                record.flow->addEdges(
                    record.stage, record.block, first_ + static_cast<int64_t>(i) + 1,
                    blocks().poolEdges(layout, scale.tokens, nullptr, *coarser.layout));
            blocks().pool(layout, scale.tokens, nullptr, *coarser.layout, coarser.pooled.data(), 0,
                          layout.slots());
        }
        pooledReady_ = false;
    }

    void fillPooled(RunningScale& scale) {
        scale.pooled.atLeast(floatsOf(*scale.layout));
        std::fill_n(scale.pooled.data(), floatsOf(*scale.layout), kLowest);
    }

    void streamFinest(const PackedBlock& block, const PackedBlock* next,
                      const AttentionRecord& record) {
        RunningScale& scale = scales_[0];
        const TokenScale& layout = *scale.layout;
        const bool stored = first_ == 0 && finest_.isFile();
        // The other file, so that what the last checkpoint knows stays as it is.
        const bool swap = stored && other_.floats() > 0;
        const float* source = scale.tokens;
        if (swap) scale.tokens = other_.data();
        if (next && scales_.size() > 1) fillPooled(scales_[1]);
        for (int64_t from = 0, step = chunk(0); from < layout.slots(); from += step) {
            const int64_t to = std::min(from + step, layout.slots());
            blocks().topDown(block, scales_, 0, from, to, source,
                             block.position(0, layout.geometry.window), record);
            if (scales_.size() > 1) {
                blocks().upwards(block, scales_, 0, from, to, record);
                if (next) poolFor(*next, from, to);
            }
            if (stored) {
                releaseChunk(finest_, from, to);
                if (swap) releaseChunk(other_, from, to);
            }
            report("blocks", static_cast<double>(to - from) * work(block, 0));
        }
        if (first_ == 0) countTraffic(2);
        if (swap) {
            std::swap(finest_, other_);
            fileIndex_ = 1 - fileIndex_;
        }
        pooledReady_ = next && scales_.size() > 1;
    }

    void countTraffic(int64_t times) {
        if (finest_.isFile()) output_.scratchTraffic += times * output_.tokenBytes;
    }

    void dropFinest() {
        scales_.erase(scales_.begin());
        if (first_ == 0) {
            finest_ = TokenMemory();
            other_ = TokenMemory();
        }
        scales_[0].pooled = AlignedFloats();
        scales_[0].shared = AlignedFloats();
        ++first_;
        pooledReady_ = false;
    }

    void readOut() {
        Readout readout{impl_.readout, impl_.config.dim, stride(), first_, scales_, {}, {}, {}};
        if (first_ == 0)
            readout.doneWith = [this](size_t scale, int64_t slot) {
                if (scale == 0) releaseChunk(finest_, slot, slot + 1);
            };
        output_.logits = readout.logits(input_.images, output_.trace);
        if (request_.contributions) readout.contributions(output_.trace);
        if (request_.flow) {
            output_.flow = flow_->carriedBack(layouts_, first_);
            output_.attention = flow_;
        }
    }

    // ---- Checkpoints ------------------------------------------------------------------------

    bool load() {
        if (!checkpoint_ || !checkpoint_->open()) return false;
        const CheckpointPosition position = checkpoint_->position();
        std::vector<std::pair<float*, int64_t>> arrays;
        listState(position.stage, arrays);
        if (!checkpoint_->read(arrays, output_.trace)) return false;
        if (finest_.isFile() && position.file == 1) {
            std::swap(finest_, other_);
            fileIndex_ = 1;
            scales_[0].tokens = finest_.data();
        }
        return true;
    }

    /// The arrays that a checkpoint holds. Finest tokens in a scratch file are there already.
    void listState(int64_t stage, std::vector<std::pair<float*, int64_t>>& arrays) {
        if (stage <= 0 && !finest_.isFile() && first_ == 0)
            arrays.emplace_back(finest_.data(), finest_.floats());
        if (stage < 0) return;  // within the stem
        for (size_t s = 1; s < layouts_.size(); ++s)
            arrays.emplace_back(coarse_[s - 1].data(), floatsOf(layouts_[s]));
    }

    bool due() const {
        if (!checkpoint_) return false;
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - lastSaved_;
        return passed.count() >= options_.checkpointSeconds;
    }

    void save(int64_t stage, int64_t block, bool always) {
        if (!checkpoint_) return;
        // With a scratch file the other copy is about to be overwritten: the place must be known.
        const bool mustSave = first_ == 0 && finest_.isFile();
        if (always || mustSave || due()) write({stage, block, tokenRows_, fileIndex_});
    }

    void write(const CheckpointPosition& position) {
        finest_.sync();
        std::vector<std::pair<float*, int64_t>> arrays;
        listState(position.stage, arrays);
        checkpoint_->write(position, arrays, output_.trace);
        lastSaved_ = std::chrono::steady_clock::now();
    }

    Impl& impl_;
    const RunnerInput& input_;
    const RunnerRequest& request_;
    const RunnerOptions& options_;
    const std::function<void(const RunnerProgress&)> progress_;
    std::unique_ptr<BlockRunner> blocks_;
    RunnerOutput output_;
    std::vector<TokenScale> layouts_;
    std::vector<RunningScale> scales_;
    std::vector<AlignedFloats> coarse_;
    TokenMemory finest_, other_;
    std::optional<RunnerCheckpoint> checkpoint_;
    std::chrono::steady_clock::time_point lastSaved_ = std::chrono::steady_clock::now();
    std::shared_ptr<AttentionFlow> flow_;
    bool pooledReady_ = false;  // the maxima that the next block adds to scale 1
    int fileIndex_ = 0;
    int64_t first_ = 0;  // number of the finest scale that is left
    int64_t tokenRows_ = 0, tokenColumns_ = 0, bandBytes_ = 0;
    double stemWork_ = 0, allWork_ = 1, doneWork_ = 0;
};

AtlasRunner::AtlasRunner(const Atlas& network, bool bf16)
    : impl_(std::make_unique<Impl>(network, bf16)) {}
AtlasRunner::~AtlasRunner() = default;
AtlasRunner::AtlasRunner(AtlasRunner&&) noexcept = default;

const AtlasConfig& AtlasRunner::config() const {
    return impl_->config;
}

RunnerOutput AtlasRunner::run(const RunnerInput& input, const RunnerRequest& request,
                              const RunnerOptions& options,
                              const std::function<void(const RunnerProgress&)>& progress) const {
    const at::NoGradGuard noGradient;
    if (input.height < 1 || input.width < 1) throw ModelError("the image has no pixels");
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    const bool plain = options.memoryBytes == 0 && options.scratch.empty() && !progress;
    if (plain && threads > 1 && input.images >= threads)
        return runSideBySide(input, request, options, threads);
    return Pass(*impl_, input, request, options, progress).go();
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
            outputs[static_cast<size_t>(t)] = Pass(*impl_, part, asked, options, {}).go();
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
                              const RunnerRequest& request) const {
    const at::Tensor flat = image.dim() == 5 ? image.squeeze(2) : image;
    if (flat.dim() != 4 || flat.size(1) != impl_->config.inChannels)
        throw ModelError("Atlas: the input must be [B, " +
                         std::to_string(impl_->config.inChannels) + ", H, W]");
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
    return run(input, request, {}, {});
}

RunnerOutput AtlasRunner::runTokens(const at::Tensor& tokens, const at::Tensor& tokenMask,
                                    const RunnerRequest& request) const {
    if (tokens.dim() != 4 || tokens.size(3) != impl_->config.dim)
        throw ModelError("Atlas: the tokens must be [B, h, w, " +
                         std::to_string(impl_->config.dim) + "]");
    RunnerInput input;
    input.images = tokens.size(0);
    input.height = tokens.size(1) * kTokenPx;
    input.width = tokens.size(2) * kTokenPx;
    input.tokens = tokens.to(at::kCPU, at::kFloat).contiguous();
    input.tokenMask = maskOf(tokenMask, input);
    return run(input, request, {}, {});
}

const CpuStem& AtlasRunner::stem() const {
    return impl_->stem;
}

}  // namespace atlas::engine
