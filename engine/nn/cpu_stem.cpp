// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/cpu_stem.h"

#include <ATen/Parallel.h>

#include <deque>
#include <mutex>

#include "engine/nn/model_error.h"
#include "engine/nn/packed_conv.h"
#include "engine/nn/row_buffer.h"

namespace atlas::engine {
namespace {

// Going on, the tokens are the same to the bit: the tiles of every layer lie as they do from the
// top (an even row), and nothing is rounded otherwise. A Winograd tile's outputs share the rounding
// of all its inputs, so that takes more rows than the 6 that matter: 4 each layer instead of 1.
constexpr int64_t kResumeTokens = 20;
constexpr int64_t kPanelLeast = 24;       // tokens a panel: the halo is 11 more
constexpr int64_t kTilesAThread = 84;     // of a layer in one step: fewer leave a thread idle
constexpr int64_t kBandTarget = 1 << 20;  // bytes of the widest map in one step

/// A layer and its place in the chain of maps: map i feeds layer i, which makes map i + 1.
struct Layer {
    PackedConv conv;
    Activation activation = Activation::None;
    int64_t residual = -1;             ///< map that is added to the output
    const PackedNorm* norm = nullptr;  ///< of the output, in place
};

/// Rows of a map that exist and are wanted, while an image streams through.
struct MapState {
    RowBuffer rows;
    int64_t height = 0, width = 0, channels = 0;
};

}  // namespace

class CpuStem::Impl {
  public:
    Impl(const AtlasStem& stem, const AtlasConfig& config, const CpuKernels& kernels)
        : kernels_(kernels), inChannels_(config.inChannels), dim_(config.dim) {
        const auto& l = stem.layers();
        for (const auto& layer : {l.first, l.second})
            if (layer.gamma.defined()) throw ModelError("the stem must be folded first");
        norms_.emplace_back(l.down1.norm);
        norms_.emplace_back(l.down2.norm);
        add(l.first, Activation::Relu);
        add(l.second, Activation::Relu);
        addUnits(l.units1, &norms_[0]);
        add(l.down1.conv, Activation::None);
        addUnits(l.units2, &norms_[1]);
        add(l.down2.conv, Activation::None);
    }

    class Stream;
    std::unique_ptr<Stream> take();
    void giveBack(std::unique_ptr<Stream> stream);

    double flopsPerPixel() const {
        double flops = 0, share = 1;
        for (const auto& layer : layers_) {
            if (layer.conv.stride == 2) share /= 4;
            const double multiplications = layer.conv.stride == 2 ? 9 : kWinogradCells / 16.0;
            flops +=
                2 * multiplications * share * static_cast<double>(layer.conv.in * layer.conv.out);
        }
        return flops;
    }

    int64_t weightBytes() const {
        size_t floats = 0;
        for (const auto& layer : layers_) {
            floats += layer.conv.lines.size() + layer.conv.cells.size();
        }
        return static_cast<int64_t>(floats * sizeof(float));
    }

    int64_t dim() const { return dim_; }
    int64_t inChannels() const { return inChannels_; }

  private:
    void add(const ConvNorm& conv, Activation activation, int64_t residual = -1,
             const PackedNorm* norm = nullptr) {
        const int64_t in = layers_.empty() ? inChannels_ : layers_.back().conv.out;
        layers_.push_back({PackedConv(conv, in, kernels_), activation, residual, norm});
    }

    void addUnits(const AtlasStem::Units& units, const PackedNorm* norm) {
        for (size_t i = 0; i < units.size(); ++i) {
            const auto input = static_cast<int64_t>(layers_.size());
            add(units[i].first, Activation::Gelu);
            add(units[i].second, Activation::None, input, i + 1 == units.size() ? norm : nullptr);
        }
    }

    /// Of all line buffers, for 16 px of width: enough rows for a step of 16 px and the halos.
    int64_t bytesPerTokenColumn() const {
        int64_t floats = inChannels_ * 16 * 24, side = 16, rows = 24;
        for (const auto& layer : layers_) {
            if (layer.conv.stride == 2) {
                side /= 2;
                rows = rows / 2 + 2;
            }
            floats += layer.conv.out * side * (rows + 4);
        }
        return floats * static_cast<int64_t>(sizeof(float));
    }

    const CpuKernels& kernels_;
    int64_t inChannels_, dim_;
    std::deque<PackedNorm> norms_;
    std::vector<Layer> layers_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Stream>> idle_;  // line buffers that earlier runs made
};

/// The line buffers of one image at a time.
class CpuStem::Impl::Stream {
  public:
    explicit Stream(const Impl& stem)
        : stem_(stem), kernels_(stem.kernels_), layers_(stem.layers_), maps_(layers_.size() + 1) {}

    void run(const StemImage& image, const StemOptions& options) {
        const int64_t tokens = (image.width + kStemTokenPx - 1) / kStemTokenPx;
        const int64_t panel =
            std::max<int64_t>(kPanelLeast, options.bandBytes / stem_.bytesPerTokenColumn());
        for (int64_t from = 0; from < tokens; from += panel)
            runPanel(image, options, from, std::min(tokens, from + panel), tokens);
    }

  private:
    void runPanel(const StemImage& image, const StemOptions& options, int64_t from, int64_t to,
                  int64_t all) {
        panelFrom_ = std::max<int64_t>(0, from - kStemHaloBefore);
        const int64_t panelTo = std::min(all, to + kStemHaloAfter);
        const int64_t firstPx = panelFrom_ * kStemTokenPx;
        const int64_t lastPx = std::min(image.width, panelTo * kStemTokenPx);
        const int64_t firstTokens =
            std::max<int64_t>(0, image.firstTokenRow - kResumeTokens) / 2 * 2;
        int64_t row = firstTokens * kStemTokenPx;
        startMaps(image.height, lastPx - firstPx, row);
        findWanted(image);
        const int64_t step = options.bandRows > 0 ? options.bandRows : bandRows();
        const int64_t tokenRows = (image.height + kStemTokenPx - 1) / kStemTokenPx;
        int64_t delivered = image.firstTokenRow;
        while (row < image.height) {
            const int64_t end = std::min(image.height, row + step);
            MapState& pixels = maps_[0];
            pixels.rows.extend(end);
            image.pixels(row, end - row, firstPx, lastPx - firstPx, pixels.rows.at(row, 0),
                         pixels.rows.rowFloats());
            row = end;
            // At the bottom every layer has rows left that wait for those below: as many at a time
            // as before, so that no buffer has to grow for them.
            do {
                for (size_t l = 0; l < layers_.size(); ++l) advance(l, step, options.bf16);
                MapState& out = maps_.back();
                const int64_t ready = std::min(out.rows.end(), tokenRows);
                for (; delivered < ready; ++delivered)
                    image.tokens(delivered, from,
                                 at::from_blob(out.rows.at(delivered, from - panelFrom_),
                                               {1, to - from, stem_.dim_},
                                               {(to - from) * out.channels, out.channels, 1},
                                               at::TensorOptions().dtype(at::kFloat)));
                out.rows.drop(delivered);
            } while (row == image.height && delivered < tokenRows);
        }
    }

    void startMaps(int64_t height, int64_t width, int64_t firstRow) {
        for (size_t i = 0; i < maps_.size(); ++i) {
            MapState& map = maps_[i];
            if (i > 0 && layers_[i - 1].conv.stride == 2) {
                height = (height + 1) / 2;
                width = (width + 1) / 2;
                firstRow /= 2;  // whole tokens, so it divides
            }
            map.height = height;
            map.width = width;
            map.channels = i == 0 ? stem_.inChannels_ : layers_[i - 1].conv.out;
            map.rows.start(width, map.channels, kWinogradOutput, firstRow - 1);
            map.rows.extendWithZeros(firstRow);
        }
    }

    int64_t bandRows() const {
        int64_t rows = 512;
        for (size_t i = 1; i < maps_.size(); ++i) {
            const int64_t perPixelRow = maps_[i].width * maps_[i].channels * 4 * maps_[i].width /
                                        std::max<int64_t>(1, maps_[0].width);
            rows = std::min(rows, kBandTarget * at::get_num_threads() / perPixelRow);
        }
        return std::max<int64_t>(64, rows / kStemTokenPx * kStemTokenPx);
    }

    /// Tokens, of this panel, whose inputs must be right: the wanted ones and their halo.
    void findWanted(const StemImage& image) {
        wanted_.clear();
        if (!image.wanted) return;
        const int64_t rows = (image.height + kStemTokenPx - 1) / kStemTokenPx;
        const int64_t columns = (image.width + kStemTokenPx - 1) / kStemTokenPx;
        wantedRows_ = rows;
        wantedColumns_ = (maps_[0].width + kStemTokenPx - 1) / kStemTokenPx;
        // Sums over rectangles, so that the halo costs nothing.
        std::vector<int32_t> sums(static_cast<size_t>((rows + 1) * (columns + 1)), 0);
        const auto at = [&](int64_t y, int64_t x) -> int32_t& {
            return sums[static_cast<size_t>(y * (columns + 1) + x)];
        };
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t x = 0; x < columns; ++x)
                at(y + 1, x + 1) = at(y, x + 1) + at(y + 1, x) - at(y, x) +
                                   (image.wanted[y * columns + x] ? 1 : 0);
        wanted_.assign(static_cast<size_t>(rows * wantedColumns_), 0);
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t x = 0; x < wantedColumns_; ++x) {
                // Token t needs what lies 6 tokens before to 5 after: seen from here, the reverse.
                const int64_t top = std::max<int64_t>(0, y - kStemHaloAfter),
                              bottom = std::min(rows, y + kStemHaloBefore + 1),
                              left = std::max<int64_t>(0, x + panelFrom_ - kStemHaloAfter),
                              right = std::min(columns, x + panelFrom_ + kStemHaloBefore + 1);
                wanted_[static_cast<size_t>(y * wantedColumns_ + x)] =
                    at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left) > 0;
            }
    }

    /// Is any wanted token under rows [y0, y1) and columns [x0, x1) of map `index`?
    bool isWanted(size_t index, int64_t y0, int64_t y1, int64_t x0, int64_t x1) const {
        if (wanted_.empty()) return true;
        int64_t px = kStemTokenPx;
        for (size_t i = 0; i < index; ++i) px /= layers_[i].conv.stride;
        px = std::max<int64_t>(1, px);
        const int64_t bottom = std::min(wantedRows_ - 1, (y1 - 1) / px),
                      right = std::min(wantedColumns_ - 1, (x1 - 1) / px);
        for (int64_t y = y0 / px; y <= bottom; ++y)
            for (int64_t x = x0 / px; x <= right; ++x)
                if (wanted_[static_cast<size_t>(y * wantedColumns_ + x)]) return true;
        return false;
    }

    /// Computes the rows of map l + 1 that map l allows, of those that `step` rows of pixels give.
    void advance(size_t l, int64_t step, bool bf16) {
        const Layer& layer = layers_[l];
        MapState& in = maps_[l];
        MapState& out = maps_[l + 1];
        const bool complete = in.rows.end() >= in.height;
        const int64_t first = out.rows.end();
        int64_t end = layer.conv.stride == 2 ? in.rows.end() / 2 : in.rows.end() - 1;
        if (complete) end = out.height;
        const int64_t tiles = (out.width + kWinogradOutput - 1) / kWinogradOutput;
        const int64_t most =
            std::max(step * out.height / maps_[0].height,
                     kTilesAThread * at::get_num_threads() / tiles * kWinogradOutput);
        end =
            std::min(end, first + (most + kWinogradOutput - 1) / kWinogradOutput * kWinogradOutput);
        if (layer.conv.stride == 1 && end < out.height)
            end = first + (end - first) / kWinogradOutput * kWinogradOutput;
        if (end > first) {
            const int64_t tileEnd =
                first + (end - first + kWinogradOutput - 1) / kWinogradOutput * kWinogradOutput;
            if (complete) in.rows.extendWithZeros(std::max(in.height, tileEnd) + 2);
            out.rows.extend(end);
            if (bf16)
                convolveBf16(layer, l, first, end);
            else if (layer.conv.stride == 1)
                convolveWinograd(layer, l, first, end);
            else
                convolveLines(layer, l, first, end);
            if (layer.norm) normalise(*layer.norm, out, first, end);
        }
        dropBelow(l);
    }

    /// Map l is needed by layer l, and as a residual by the layer after it.
    void dropBelow(size_t l) {
        int64_t needed = maps_[l + 1].rows.end() * layers_[l].conv.stride - 1;
        if (l + 1 < layers_.size() && layers_[l + 1].residual == static_cast<int64_t>(l))
            needed = std::min(needed, maps_[l + 2].rows.end());
        maps_[l].rows.drop(needed);
        // The residual's reader runs after its own input's layer: look back once more.
        if (l > 0 && layers_[l].residual == static_cast<int64_t>(l) - 1)
            maps_[l - 1].rows.drop(std::min(maps_[l].rows.end() - 1, maps_[l + 1].rows.end()));
    }

    void convolveWinograd(const Layer& layer, size_t l, int64_t first, int64_t end) {
        MapState& in = maps_[l];
        MapState& out = maps_[l + 1];
        WinogradTiles task;
        task.input = in.rows.at(first - 1, -1);
        task.inputRow = in.rows.rowFloats();
        task.output = out.rows.at(first, 0);
        task.outputRow = out.rows.rowFloats();
        if (layer.residual >= 0) {
            auto& residual = maps_[static_cast<size_t>(layer.residual)].rows;
            task.residual = residual.at(first, 0);
            task.residualRow = residual.rowFloats();
        }
        task.height = end - first;
        task.width = out.width;
        task.activation = layer.activation;
        convolveTiles(kernels_, layer.conv, task,
                      [&](const WinogradTiles& t) { return blockIsWanted(l + 1, t, first); });
    }

    bool blockIsWanted(size_t map, const WinogradTiles& t, int64_t firstRow) const {
        if (wanted_.empty()) return true;
        const int64_t last = t.first + t.count - 1;
        for (int64_t row = t.first / t.tilesPerRow; row <= last / t.tilesPerRow; ++row) {
            const int64_t x0 = row == t.first / t.tilesPerRow ? t.first % t.tilesPerRow : 0;
            const int64_t x1 =
                row == last / t.tilesPerRow ? last % t.tilesPerRow + 1 : t.tilesPerRow;
            const int64_t y = firstRow + row * kWinogradOutput;
            if (isWanted(map, y, y + kWinogradOutput, x0 * kWinogradOutput, x1 * kWinogradOutput))
                return true;
        }
        return false;
    }

    void convolveLines(const Layer& layer, size_t l, int64_t first, int64_t end) {
        MapState& in = maps_[l];
        MapState& out = maps_[l + 1];
        constexpr int64_t kSegment = 224;  // output pixels
        const int64_t segments = (out.width + kSegment - 1) / kSegment;
        at::parallel_for(0, (end - first) * segments, 1, [&](int64_t from, int64_t to) {
            for (int64_t i = from; i < to; ++i) {
                const int64_t y = first + i / segments, x = i % segments * kSegment;
                const int64_t count = std::min(kSegment, out.width - x);
                if (!isWanted(l + 1, y, y + 1, x, x + count)) continue;
                ProductTask task;
                for (int64_t r = 0; r < 3; ++r)
                    task.a[r] =
                        in.rows.at(y * layer.conv.stride - 1 + r, x * layer.conv.stride - 1);
                task.rows = 3;
                task.lda = layer.conv.stride * in.channels;
                task.k = static_cast<int>(3 * in.channels);
                task.b = layer.conv.lines.data();
                task.c = out.rows.at(y, x);
                task.ldc = out.channels;
                task.m = count;
                task.n = static_cast<int>(out.channels);
                task.bias = layer.conv.bias.data();
                task.activation = layer.activation;
                kernels_.product(task);
            }
        });
    }

    void convolveBf16(const Layer& layer, size_t l, int64_t first, int64_t end) {
        MapState& in = maps_[l];
        MapState& out = maps_[l + 1];
        const int64_t stride = layer.conv.stride;
        if (!isWanted(l + 1, first, end, 0, out.width)) return;
        const int64_t rows = (end - first - 1) * stride + 3;
        const int64_t columns = (out.width - 1) * stride + 3;
        const at::Tensor source =
            at::from_blob(in.rows.at(first * stride - 1, -1), {1, rows, columns, in.channels},
                          {rows * in.rows.rowFloats(), in.rows.rowFloats(), in.channels, 1},
                          at::TensorOptions().dtype(at::kFloat));
        at::Tensor result = at::conv2d(source.to(at::kBFloat16).permute({0, 3, 1, 2}),
                                       layer.conv.bf16Weight, {}, at::IntArrayRef{stride, stride})
                                .permute({0, 2, 3, 1});
        const at::Tensor target = view(out, first, end);
        target.copy_(result);
        target.add_(
            at::from_blob(const_cast<float*>(layer.conv.bias.data()), {out.channels}, at::kFloat));
        if (layer.activation == Activation::Relu) target.relu_();
        if (layer.activation == Activation::Gelu) target.copy_(at::gelu(target));
        if (layer.residual >= 0)
            target.add_(view(maps_[static_cast<size_t>(layer.residual)], first, end));
    }

    static at::Tensor view(MapState& map, int64_t first, int64_t end) {
        return at::from_blob(
            map.rows.at(first, 0), {1, end - first, map.width, map.channels},
            {(end - first) * map.rows.rowFloats(), map.rows.rowFloats(), map.channels, 1},
            at::TensorOptions().dtype(at::kFloat));
    }

    void normalise(const PackedNorm& norm, MapState& map, int64_t first, int64_t end) {
        at::parallel_for(first, end, 1, [&](int64_t from, int64_t to) {
            for (int64_t y = from; y < to; ++y)
                kernels_.layerNorm(map.rows.at(y, 0), map.width, norm.channels, norm.gamma.data(),
                                   norm.beta.data(), norm.eps);
        });
    }

    const Impl& stem_;
    const CpuKernels& kernels_;
    const std::vector<Layer>& layers_;
    std::vector<MapState> maps_;
    int64_t panelFrom_ = 0;
    std::vector<uint8_t> wanted_;
    int64_t wantedRows_ = 0, wantedColumns_ = 0;
};

std::unique_ptr<CpuStem::Impl::Stream> CpuStem::Impl::take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Stream>(*this);
    auto stream = std::move(idle_.back());
    idle_.pop_back();
    return stream;
}

void CpuStem::Impl::giveBack(std::unique_ptr<Stream> stream) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(stream));
}

void pixelsOfPlanes(const at::Tensor& planes, int64_t index, int64_t row, int64_t rows,
                    int64_t column, int64_t columns, float* out, int64_t outRow) {
    const int64_t channels = planes.size(1), height = planes.size(2), width = planes.size(3);
    const float* source = planes.const_data_ptr<float>() + index * channels * height * width;
    at::parallel_for(0, rows, 16, [&](int64_t from, int64_t to) {
        for (int64_t y = from; y < to; ++y)
            for (int64_t k = 0; k < channels; ++k) {
                const float* line = source + (k * height + row + y) * width + column;
                float* target = out + y * outRow + k;
                for (int64_t x = 0; x < columns; ++x) target[x * channels] = line[x];
            }
    });
}

CpuStem::CpuStem(const AtlasStem& stem, const AtlasConfig& config, const CpuKernels* kernels)
    : impl_(std::make_unique<Impl>(stem, config, kernels ? *kernels : cpuKernels())) {}
CpuStem::~CpuStem() = default;
CpuStem::CpuStem(CpuStem&&) noexcept = default;

double CpuStem::flopsPerPixel() const {
    return impl_->flopsPerPixel();
}

int64_t CpuStem::weightBytes() const {
    return impl_->weightBytes();
}

void CpuStem::run(const StemImage& image, const StemOptions& options) const {
    auto stream = impl_->take();
    stream->run(image, options);
    impl_->giveBack(std::move(stream));
}

at::Tensor CpuStem::forward(const at::Tensor& image, const StemOptions& options) const {
    const at::Tensor plain = image.to(at::kFloat).contiguous();
    const int64_t h = plain.size(2), w = plain.size(3), dim = impl_->dim();
    at::Tensor tokens = at::empty({plain.size(0), (h + kStemTokenPx - 1) / kStemTokenPx,
                                   (w + kStemTokenPx - 1) / kStemTokenPx, dim},
                                  plain.options());
    for (int64_t b = 0; b < plain.size(0); ++b) {
        StemImage stream;
        stream.height = h;
        stream.width = w;
        stream.pixels = [&](int64_t row, int64_t rows, int64_t column, int64_t columns, float* out,
                            int64_t outRow) {
            pixelsOfPlanes(plain, b, row, rows, column, columns, out, outRow);
        };
        stream.tokens = [&](int64_t row, int64_t column, const at::Tensor& some) {
            tokens[b]
                .slice(0, row, row + some.size(0))
                .slice(1, column, column + some.size(1))
                .copy_(some);
        };
        run(stream, options);
    }
    return tokens;
}

}  // namespace atlas::engine
