// SPDX-License-Identifier: Apache-2.0
// What the backbones share: heads, windows with halos, convolutions with a folded norm.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/ops/addcmul.h>

#include "engine/nn/backbones/fast_conv.h"
#include "engine/nn/layers.h"
#include "engine/nn/packed_linear.h"

namespace atlas::engine {

/// BatchNorm with running statistics, eps 1e-5.
struct BatchNorm {
    at::Tensor weight, bias, mean, variance;

    static BatchNorm read(WeightReader& reader, const std::string& name, int64_t width);
    at::Tensor operator()(const at::Tensor& x) const;
    at::Tensor scale() const;  ///< x * scale + shift is the same
    at::Tensor shift() const { return bias - mean * scale(); }
};

/// Convolution of any kernel with an optional BatchNorm, folded when it is read. [B, C, H, W].
struct Conv {
    at::Tensor weight, bias;
    int64_t stride = 1, padding = 0, groups = 1;
    std::shared_ptr<const FastConv> fast{};  ///< for the processor, where it is faster
    std::optional<BatchNorm> norm{};  ///< not folded, as the originals have it (PlainAttention)

    struct Shape {
        int64_t in = 0, out = 0, kernel = 1, stride = 1, padding = 0, groups = 1;
    };
    static Conv read(WeightReader& reader, const std::string& name, const Shape& shape,
                     bool bias = true);
    /// `<name>.conv` and `<name>.bn`, eps 1e-5, padding kernel / 2.
    static Conv readWithNorm(WeightReader& reader, const std::string& name, Shape shape);
    at::Tensor operator()(const at::Tensor& x, Activation activation = Activation::None) const;

  private:
    /// Channels last: what a convolution gives then is so too, and splits into heads as it lies.
    void arrange();
};

/// In place.
at::Tensor activate(at::Tensor x, Activation activation);

/// BatchNorm as a factor and a summand a channel.
struct ChannelAffine {
    at::Tensor scale, shift;  ///< [1, C, 1, 1]
    static ChannelAffine read(WeightReader& reader, const std::string& name, int64_t width);
    at::Tensor operator()(const at::Tensor& x) const { return at::addcmul(shift, x, scale); }
};

/// A linear layer over tokens: in the processor's kernels where that can be.
struct Projection {
    Linear plain;
    std::shared_ptr<const PackedLinear> packed;  ///< or null

    static Projection read(WeightReader& reader, const std::string& name, int64_t in, int64_t out,
                           bool bias = true);
    at::Tensor operator()(const at::Tensor& x) const;  ///< [..., in] -> [..., out]
};

/// x + fc2(GELU(fc1(norm(x)))).
struct ResidualMlp {
    LayerNorm norm;
    Linear fc1, fc2;
    /// For the processor's kernels, the norm folded in: all between x and the sum stays in the
    /// cache.
    struct Packed {
        PackedLinear fc1, fc2;
    };
    std::shared_ptr<const Packed> packed;

    /// Reads `<name>.fc1` and `<name>.fc2`.
    static ResidualMlp read(WeightReader& reader, const std::string& name, const LayerNorm& norm,
                            int64_t hidden);
    at::Tensor operator()(const at::Tensor& x) const;
};

/// [B, N, A*d] -> [B, A, N, d], and back.
at::Tensor splitHeads(const at::Tensor& x, int64_t heads);
at::Tensor mergeHeads(const at::Tensor& x);

/// [B, h*w, C] -> [B, C, h, w], and back.
at::Tensor tokensToMap(const at::Tensor& x, int64_t height, int64_t width);
at::Tensor mapToTokens(const at::Tensor& x);

/// softmax(q k^T * scale + mask) v; `mask`: additive, broadcast, or undefined.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, double scale);

/// Its weights, where maps are asked for: [B, A, Q, K].
at::Tensor attentionWeights(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mask,
                            double scale);

/// What each key receives of all queries together, mean over heads: [B, K]. Formed a few queries
/// at a time.
at::Tensor attentionReceived(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mask,
                             double scale);

/// One row of windows of an attention that is local.
struct WindowRow {
    at::Tensor q, k, v;  ///< [B*columns, A, queries or keys, d]
    at::Tensor mask;     ///< additive, broadcast, or undefined
};

/// The outputs of all rows, one after another: memory grows with the width of the image alone.
std::vector<at::Tensor> attendRows(int64_t rows, double scale,
                                   const std::function<WindowRow(int64_t)>& row);

/// While alive, this thread's backbones attend as their originals do: all windows at once, and
/// every weight formed; those made meanwhile keep channels first, norms after their convolutions
/// and LibTorch's MLPs. What benchmarks compare with.
class PlainAttention {
  public:
    PlainAttention();
    ~PlainAttention();
    PlainAttention(const PlainAttention&) = delete;
    PlainAttention& operator=(const PlainAttention&) = delete;
    static bool on();
};

/// The windows of a row of blocks: [B, A, H, W, d] -> [B*columns, A, side*side, d], the first one
/// at row*step; neighbours begin `step` apart and may overlap.
at::Tensor windowsOfRow(const at::Tensor& map, int64_t row, int64_t step, int64_t side);

/// Back to rows of a map: [B*columns, A, side*side, d] -> [B, A, side, columns*side, d].
at::Tensor rowOfWindows(const at::Tensor& windows, int64_t batch, int64_t side);

/// Nearest multiple of `divisor`, at least `divisor`, one step up when below `limit` of v.
int64_t makeDivisible(double v, int64_t divisor = 8, double limit = 0.9);

/// Throws ModelError, naming the sizes that work.
void checkSize(const at::Tensor& image, int64_t multiple, const char* network);

/// In multiples of an even share, over the last two dimensions.
at::Tensor evenShares(const at::Tensor& map);

}  // namespace atlas::engine
