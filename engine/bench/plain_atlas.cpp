// SPDX-License-Identifier: Apache-2.0
#include "engine/bench/plain_atlas.h"

#include <ATen/ops/scaled_dot_product_attention.h>

#include "engine/nn/atlas_geometry.h"

namespace atlas::engine {
namespace {

struct Scale {
    at::Tensor windows;  ///< [B * rows^2, tokens, C]
    ScaleGeometry geometry;
};

at::Tensor plainConv(const ConvNorm& layer, const at::Tensor& x) {
    const at::Tensor y = at::conv2d(x, layer.weight, layer.bias, layer.stride, 1);
    if (!layer.gamma.defined()) return y;
    return at::batch_norm(y, layer.gamma, layer.beta, layer.runningMean, layer.runningVar, false,
                          0.1, layer.eps, false);
}

at::Tensor plainUnits(const AtlasStem::Units& units, at::Tensor x) {
    for (const auto& unit : units)
        x = x + plainConv(unit.second, at::gelu(plainConv(unit.first, x)));
    return x;
}

at::Tensor plainDown(const AtlasStem::Downsample& layer, const at::Tensor& x) {
    const at::Tensor normed =
        layer.norm(x.permute({0, 2, 3, 1})).permute({0, 3, 1, 2}).contiguous();
    return plainConv(layer.conv, normed);
}

/// [N, T, C] -> [N, heads, T, C / heads]
at::Tensor heads(const at::Tensor& x, int64_t count) {
    return x.reshape({x.size(0), x.size(1), count, x.size(2) / count}).transpose(1, 2);
}

class PlainBlock {
  public:
    PlainBlock(const AtlasBlock& block, const AtlasConfig& config, std::vector<Scale>& scales)
        : block_(block), config_(config), scales_(scales), shared_(scales.size()) {}

    void run() {
        for (size_t i = 0; i < scales_.size(); ++i)
            scales_[i].windows =
                scales_[i].windows +
                block_.positionEmbedding(static_cast<int64_t>(i), scales_[i].geometry.window);
        for (size_t i = 0; i + 1 < scales_.size(); ++i) {
            const auto& g = scales_[i].geometry;
            const at::Tensor pooled =
                poolTokens(toRaster(scales_[i].windows, g.window, g.rows), config_.poolRatio, {});
            scales_[i + 1].windows =
                scales_[i + 1].windows + toWindows(pooled, scales_[i + 1].geometry.window);
        }
        for (size_t i = scales_.size(); i-- > 0;) topDown(i);
        for (size_t i = 1; i < scales_.size(); ++i) upwards(i);
    }

  private:
    const AtlasBlock::WeightSet& set(size_t i) const {
        return block_.sets()[std::min(i, block_.sets().size() - 1)];
    }

    at::Tensor keysAndValues(size_t i) const {
        return set(i).kv(set(i).normKv(scales_[i].windows));
    }

    void topDown(size_t i) {
        at::Tensor x = scales_[i].windows;
        std::vector<at::Tensor> all{keysAndValues(i)};
        for (size_t t = scales_.size() - 1; t > i; --t) all.push_back(repeated(i, t));
        x = attend(i, x, at::cat(all, 1));
        scales_[i].windows = x;
        if (i > 0) shared_[i] = keysAndValues(i);
    }

    /// The parents' keys and values, once for every fine window.
    at::Tensor repeated(size_t i, size_t t) const {
        const auto& fine = scales_[i].geometry;
        const auto& coarse = scales_[t].geometry;
        const int64_t images = scales_[i].windows.size(0) / fine.windows();
        std::vector<int64_t> parents;
        for (int64_t b = 0; b < images; ++b)
            for (int64_t w = 0; w < fine.windows(); ++w)
                parents.push_back(b * coarse.windows() +
                                  parentWindow(w, fine.rows, coarse.rows, config_.mapping));
        const at::Tensor index =
            at::from_blob(parents.data(), {static_cast<int64_t>(parents.size())}, at::kLong)
                .clone();
        return shared_[t].index_select(0, index.to(shared_[t].device()));
    }

    at::Tensor attend(size_t i, const at::Tensor& x, const at::Tensor& kv) const {
        const auto& w = set(i);
        const int64_t c = x.size(2), count = block_.heads();
        const at::Tensor attended =
            plainAttention(heads(w.q(w.normQ(x)), count), heads(kv.slice(2, 0, c), count),
                           heads(kv.slice(2, c), count));
        at::Tensor y = x + w.proj(attended.transpose(1, 2).reshape(x.sizes()));
        return y + w.fc2(at::gelu(w.fc1(w.norm2(y))));
    }

    void upwards(size_t i) {
        const auto& g = scales_[i].geometry;
        const auto& fine = scales_[i - 1].geometry;
        const int64_t side = g.side / fine.rows;
        const at::Tensor tiles = toWindows(toRaster(scales_[i].windows, g.window, g.rows), side);
        const at::Tensor updated = attend(i, tiles, keysAndValues(i - 1));
        scales_[i].windows = toWindows(toRaster(updated, side, fine.rows), g.window);
    }

    const AtlasBlock& block_;
    const AtlasConfig& config_;
    std::vector<Scale>& scales_;
    std::vector<at::Tensor> shared_;
};

}  // namespace

at::Tensor plainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return at::scaled_dot_product_attention(q, k, v);
}

at::Tensor PlainAtlas::stem(const at::Tensor& image) const {
    const auto& l = network_.stem().layers();
    at::Tensor x = at::relu(plainConv(l.first, image));
    x = at::relu(plainConv(l.second, x));
    x = plainDown(l.down1, plainUnits(l.units1, x));
    return plainDown(l.down2, plainUnits(l.units2, x));
}

at::Tensor PlainAtlas::blocks(const at::Tensor& tokens) const {
    const auto& config = network_.config();
    std::vector<Scale> scales;
    at::Tensor map = tokens;
    for (const auto& geometry :
         listScales(tokens.size(1), config.windowSide, config.poolRatio, config.maxScales)) {
        if (!scales.empty()) map = poolTokens(map, config.poolRatio, {});
        scales.push_back({toWindows(map, geometry.window), geometry});
    }
    for (size_t k = 0; k < network_.stages().size(); ++k) {
        for (const auto& block : network_.stages()[k].blocks())
            PlainBlock(block, config, scales).run();
        if (k + 1 < network_.stages().size() && scales.size() > 1) scales.erase(scales.begin());
    }
    std::vector<at::Tensor> all;
    for (const auto& scale : scales)
        all.push_back(scale.windows.reshape({tokens.size(0), -1, tokens.size(3)}));
    const at::Tensor features =
        network_.fcNorm()(network_.readoutNorm()(at::cat(all, 1)).mean(at::IntArrayRef({1})));
    return network_.fc()(features);
}

at::Tensor PlainAtlas::forward(const at::Tensor& image) const {
    return blocks(stem(image).permute({0, 2, 3, 1}));
}

}  // namespace atlas::engine
