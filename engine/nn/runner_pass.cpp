// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/runner_pass.h"

#include <chrono>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/model_error.h"
#include "engine/nn/runner_checkpoint.h"
#include "engine/nn/token_memory.h"

namespace atlas::engine {
namespace {

constexpr int64_t kReserveBytes = int64_t{384} << 20;  // program, libraries, buffers of a run

/// One run.
class Pass {
  public:
    Pass(const RunnerModel& model, BlockEngine& blocks, const RunnerInput& input,
         const RunnerRequest& request, const RunnerOptions& options,
         const std::function<void(const RunnerProgress&)>& progress)
        : model_(model),
          blocks_(blocks),
          input_(input),
          request_(request),
          options_(options),
          progress_(progress) {}
    ~Pass() { blocks_.end(); }
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
        for (size_t k = 0; k < stages().size(); ++k) {
            runStage(k);
            if (k + 1 < stages().size() && scales() > 1) dropFinest();
        }
        readOut();
        if (checkpoint_) checkpoint_->remove();
        return std::move(output_);
    }

  private:
    const std::vector<AtlasStageConfig>& stages() const { return model_.config.stages; }
    /// Of the stage that is running.
    size_t scales() const { return layouts_.size() - static_cast<size_t>(first_); }
    const TokenScale& layout(size_t i) const { return layouts_[static_cast<size_t>(first_) + i]; }
    int64_t stride() const { return blocks_.stride(); }
    int64_t floatsOf(const TokenScale& scale) const {
        return scale.slots() * scale.tokens() * stride();
    }

    void layOut() {
        const auto& c = model_.config;
        tokenRows_ = (input_.height + kStemTokenPx - 1) / kStemTokenPx;
        tokenColumns_ = (input_.width + kStemTokenPx - 1) / kStemTokenPx;
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
        countWork();
    }

    void openMemory() {
        const int64_t finest = floatsOf(layouts_[0]);
        blocks_.allow(options_.deviceBytes);
        const bool held = blocks_.holdsFinest(layouts_);
        const int64_t bytes = held ? 0 : finest * static_cast<int64_t>(sizeof(float));
        const int64_t others = memoryBesidesFinest(layouts_);
        const bool file = !held && options_.memoryBytes > 0 && !options_.scratch.empty() &&
                          others + bytes > options_.memoryBytes;
        if (options_.memoryBytes > 0 && others > options_.memoryBytes)
            throw ModelError("the image needs at least " + std::to_string(others >> 20) +
                             " MiB, and " + std::to_string(options_.memoryBytes >> 20) +
                             " MiB are allowed (--memory)");
        output_.usedScratchFile = file;
        onHost_ = !held;
        if (file) {
            std::filesystem::create_directories(options_.scratch);
            finest_ = TokenMemory::inFile(options_.scratch / "tokens-0.bin", finest);
            if (options_.checkpoints)
                other_ = TokenMemory::inFile(options_.scratch / "tokens-1.bin", finest);
        }
        begin();
        if (options_.checkpoints) checkpoint_.emplace(options_.scratch, options_.key);
        bandBytes_ =
            options_.memoryBytes > 0
                ? std::max<int64_t>(int64_t{64} << 20,
                                    (options_.memoryBytes - others - (file ? 0 : bytes)) / 2)
                : int64_t{1} << 30;
    }

    /// Everything as it is at the beginning of a run; what a scratch file holds stays.
    void begin() {
        if (onHost_ && !finest_.isFile()) finest_ = TokenMemory::inRam(floatsOf(layouts_[0]));
        blocks_.begin(layouts_, onHost_ ? finest_.data() : nullptr);
    }

    int64_t memoryBesidesFinest(const std::vector<TokenScale>& layouts) const {
        int64_t floats = 0, masks = 0;
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
            const size_t last = std::min(stages().size(), layouts.size()) - 1;
            floats += static_cast<int64_t>(4 * layouts[last].map.size()) * model_.config.numClasses;
        }
        return blocks_.hostBytes(layouts) + floats * static_cast<int64_t>(sizeof(float)) + masks +
               model_.weightBytes + kReserveBytes;
    }

    /// Arithmetic of each part, for the progress.
    void countWork() {
        stemWork_ = model_.stem->flopsPerPixel() *
                    static_cast<double>(input_.images * input_.height * input_.width);
        allWork_ = stemWork_;
        for (size_t k = 0; k < stages().size(); ++k)
            for (size_t d = 0; d < static_cast<size_t>(stages()[k].depth); ++d)
                allWork_ += blockWork({k, d});
    }

    /// Number of the finest scale that a stage sees.
    size_t firstOf(size_t stage) const { return std::min(stage, layouts_.size() - 1); }

    /// Of a window of scale `i` of the stage.
    double windowWork(BlockId block, size_t i) const {
        const auto& stage = stages()[block.stage];
        const size_t s = firstOf(block.stage) + i;
        const bool external =
            stage.attentionOf(static_cast<int64_t>(block.block)) == BlockAttention::External;
        const auto dim = static_cast<double>(model_.config.dim);
        double keys = external ? static_cast<double>(stage.memorySlots) : 0;
        for (size_t t = s; !external && t < layouts_.size(); ++t)
            keys += static_cast<double>(layouts_[t].tokens());
        const double linear = 2 * dim * dim * ((external ? 2 : 4) + 2 * stage.mlpRatio);
        return static_cast<double>(layouts_[s].tokens()) * (linear + 4 * keys * dim);
    }

    double blockWork(BlockId block) const {
        double work = 0;
        for (size_t s = firstOf(block.stage), i = 0; s + i < layouts_.size(); ++i)
            work += static_cast<double>(layouts_[s + i].slots()) * windowWork(block, i);
        return work;
    }

    void report(const char* part, double work) {
        doneWork_ += work;
        if (progress_) progress_({part, std::min(1.0, doneWork_ / allWork_)});
    }

    // ---- Stem -------------------------------------------------------------------------------

    void runStem(int64_t firstRow) {
        doneWork_ = stemWork_ * static_cast<double>(firstRow) / static_cast<double>(tokenRows_);
        const int64_t window = layouts_[0].geometry.window;
        StemOptions stemOptions;
        stemOptions.bf16 = model_.bf16;
        stemOptions.bandBytes = bandBytes_;
        stemOptions.tileBytes = options_.deviceBytes / 4;
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
            image.tokens = [&](int64_t row, int64_t column, const at::Tensor& tokens) {
                const int64_t rows = tokens.size(0), columns = tokens.size(1);
                blocks_.place(b, row, column, tokens);
                report("stem", stemWork_ * static_cast<double>(rows * columns) /
                                   static_cast<double>(tokenRows_ * tokenColumns_ * input_.images));
                const int64_t done = row + rows;
                const int64_t windowRows =  // that are complete, in these columns
                    done == tokenRows_ ? (done + window - 1) / window : done / window;
                if (column + columns != tokenColumns_) {
                    // The rest of these rows comes later, with other panels of the image.
                    if (windowRows == 0) return;
                    const auto [from, to] = slotsOfRow(b, windowRows - 1);
                    releaseChunk(finest_, from, to);
                    return;
                }
                poolUntil(windowRows);
                if (input_.images == 1 && windowRows > 0 && due())
                    write({-1, 0, std::min(tokenRows_, windowRows * window), 0});
            };
            if (input_.tokens.defined())
                image.tokens(0, 0, input_.tokens[b]);
            else
                model_.stem->run(image, stemOptions);
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
        const auto [from, to] = slotsOfRow(image, windowRow);
        if (from == to) return;
        if (layouts_.size() > 1) {
            blocks_.poolTokens(0, from, to);
            blocks_.pool({0, 0}, 0, from, to);
        }
        releaseChunk(finest_, from, to);
    }

    void releaseChunk(TokenMemory& memory, int64_t from, int64_t to) {
        const int64_t each = layouts_[0].tokens() * stride();
        memory.release(from * each, to * each);
    }

    /// Scales 2 and up, from the unchanged tokens (spec 4).
    void buildCoarse() {
        for (size_t s = 1; s < layouts_.size(); ++s) {
            blocks_.clearInvalid(s);
            if (s + 1 < layouts_.size()) blocks_.poolTokens(s, 0, layouts_[s].slots());
        }
    }

    /// Of which finest tokens the coarse ones were made.
    void beginFlow() {
        flow_ = std::make_shared<AttentionFlow>();
        for (size_t s = 1; s < layouts_.size(); ++s)
            flow_->addEdges(-1, 0, static_cast<int64_t>(s), blocks_.poolEdges(nullptr, s - 1));
    }

    // ---- Stages -----------------------------------------------------------------------------

    /// Calls `work` with some windows of scale `i` at a time.
    template <typename Work>
    void eachChunk(size_t i, const Work& work) {
        const int64_t slots = layout(i).slots(), step = blocks_.windowsAtOnce(i);
        for (int64_t from = 0; from < slots; from += step) work(from, std::min(from + step, slots));
    }

    void runStage(size_t k) {
        const auto depth = static_cast<size_t>(stages()[k].depth);
        for (size_t d = 0; d < depth; ++d) {
            const auto stage = static_cast<int64_t>(k), block = static_cast<int64_t>(d);
            if (checkpoint_ && checkpoint_->isBefore(stage, block)) {
                doneWork_ += blockWork({k, d});
                continue;
            }
            const bool lastOfStage = d + 1 == depth;
            AttentionRecord record;
            record.trace = &output_.trace;
            record.prefix = "stage" + std::to_string(k) + ".";
            record.layouts = &layouts_;
            record.first = first_;
            record.maps = request_.attention && lastOfStage;
            record.scaleOff = request_.scaleOff;
            if (request_.probe && request_.probe->wants(stage, block, stages()[k].depth))
                record.probe = request_.probe;
            if (request_.flow) {
                record.flow = flow_.get();
                record.stage = stage;
                record.block = block;
            }
            runBlock({k, d}, lastOfStage, record);
            if (!lastOfStage) save(stage, block + 1, false);
        }
    }

    void runBlock(BlockId block, bool lastOfStage, const AttentionRecord& record) {
        if (scales() > 1) enterBlock(block, record);
        for (size_t i = scales() - 1; i > 0; --i) {
            eachChunk(i, [&](int64_t from, int64_t to) {
                blocks_.topDown(block, i, from, to, nullptr, record);
                report("blocks", static_cast<double>(to - from) * windowWork(block, i));
            });
            eachChunk(i, [&](int64_t from, int64_t to) { blocks_.share(block, i, from, to); });
        }
        streamFinest(block, lastOfStage, record);
        for (size_t i = 1; i + 1 < scales(); ++i)
            eachChunk(
                i, [&](int64_t from, int64_t to) { blocks_.upwards(block, i, from, to, record); });
    }

    /// Position embedding and bottom-up sums of the coarse scales (5.1 and 5.2). The finest gets
    /// its embedding when it is read; its maxima were mostly taken when it was written.
    void enterBlock(BlockId block, const AttentionRecord& record) {
        const auto follow = [&](size_t i) {
            if (record.flow)
                record.flow->addEdges(record.stage, record.block,
                                      first_ + static_cast<int64_t>(i) + 1,
                                      blocks_.poolEdges(&block, i));
        };
        follow(0);
        if (!pooledReady_) {
            eachChunk(0, [&](int64_t from, int64_t to) {
                blocks_.pool(block, 0, from, to);
                if (first_ == 0) releaseChunk(finest_, from, to);
            });
            if (first_ == 0) countTraffic(1);
        }
        for (size_t i = 1; i < scales(); ++i) {
            blocks_.enter(block, i);
            if (i + 1 == scales()) break;
            follow(i);
            blocks_.pool(block, i, 0, layout(i).slots());
        }
        pooledReady_ = false;
    }

    void streamFinest(BlockId block, bool lastOfStage, const AttentionRecord& record) {
        const bool stored = first_ == 0 && finest_.isFile();
        // The other file, so that what the last checkpoint knows stays as it is.
        const bool swap = stored && other_.floats() > 0;
        const float* source = swap ? finest_.data() : nullptr;
        if (swap) blocks_.writeFinestTo(other_.data());
        const bool poolNext = !lastOfStage && scales() > 1;
        eachChunk(0, [&](int64_t from, int64_t to) {
            blocks_.topDown(block, 0, from, to, source, record);
            if (scales() > 1) blocks_.upwards(block, 0, from, to, record);
            if (poolNext) blocks_.pool({block.stage, block.block + 1}, 0, from, to);
            if (stored) {
                releaseChunk(finest_, from, to);
                if (swap) releaseChunk(other_, from, to);
            }
            report("blocks", static_cast<double>(to - from) * windowWork(block, 0));
        });
        if (first_ == 0) countTraffic(2);
        if (swap) {
            std::swap(finest_, other_);
            fileIndex_ = 1 - fileIndex_;
        }
        pooledReady_ = poolNext;
    }

    void countTraffic(int64_t times) {
        if (finest_.isFile()) output_.scratchTraffic += times * output_.tokenBytes;
    }

    void dropFinest() {
        blocks_.dropFinest();
        if (first_ == 0) {
            finest_ = TokenMemory();
            other_ = TokenMemory();
        }
        ++first_;
        pooledReady_ = false;
    }

    void readOut() {
        Readout readout(model_.readout, blocks_, layouts_, first_);
        if (first_ == 0)
            readout.doneWith = [this](size_t scale, int64_t from, int64_t to) {
                if (scale == 0) releaseChunk(finest_, from, to);
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
        if (!checkpoint_->read(state(position.stage), output_.trace)) {
            begin();
            return false;
        }
        if (finest_.isFile() && position.file == 1) {
            std::swap(finest_, other_);
            fileIndex_ = 1;
            blocks_.writeFinestTo(finest_.data());
        }
        return true;
    }

    /// What a checkpoint before a block of that stage (-1: within the stem) holds: the tokens of
    /// the scales that are left. Finest tokens in a scratch file are there already.
    RunnerCheckpoint::Arrays state(int64_t stage) {
        RunnerCheckpoint::Arrays arrays;
        const size_t from = stage < 0 ? 0 : firstOf(static_cast<size_t>(stage));
        const size_t to = stage < 0 ? 1 : layouts_.size();
        for (size_t s = from; s < to; ++s) {
            if (s == 0 && finest_.isFile()) continue;
            const size_t i = s - static_cast<size_t>(first_);
            arrays.push_back(
                {layouts_[s].slots(), layouts_[s].tokens() * stride(),
                 [this, i](int64_t a, int64_t b, float* out) { blocks_.save(i, a, b, out); },
                 [this, i](int64_t a, int64_t b, const float* in) { blocks_.load(i, a, b, in); }});
        }
        return arrays;
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
        checkpoint_->write(position, state(position.stage), output_.trace);
        lastSaved_ = std::chrono::steady_clock::now();
    }

    const RunnerModel& model_;
    BlockEngine& blocks_;
    const RunnerInput& input_;
    const RunnerRequest& request_;
    const RunnerOptions& options_;
    const std::function<void(const RunnerProgress&)> progress_;
    RunnerOutput output_;
    std::vector<TokenScale> layouts_;
    bool onHost_ = true;          // the finest tokens
    TokenMemory finest_, other_;  // empty where the engine holds them
    std::optional<RunnerCheckpoint> checkpoint_;
    std::chrono::steady_clock::time_point lastSaved_ = std::chrono::steady_clock::now();
    std::shared_ptr<AttentionFlow> flow_;
    bool pooledReady_ = false;  // the maxima that the next block adds to scale 1
    int fileIndex_ = 0;
    int64_t first_ = 0;  // number of the finest scale that is left
    int64_t tokenRows_ = 0, tokenColumns_ = 0, bandBytes_ = 0;
    double stemWork_ = 0, allWork_ = 1, doneWork_ = 0;
};

}  // namespace

RunnerOutput runPass(const RunnerModel& model, BlockEngine& blocks, const RunnerInput& input,
                     const RunnerRequest& request, const RunnerOptions& options,
                     const std::function<void(const RunnerProgress&)>& progress) {
    return Pass(model, blocks, input, request, options, progress).go();
}

}  // namespace atlas::engine
