// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/scalablevit.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr double kNormEps = 1e-6, kReductionEps = 1e-5;
constexpr int64_t kHeadWidth = 4096;

}  // namespace

ScalableViTConfig ScalableViTConfig::variant(const std::string& name) {
    struct Row {
        int64_t dim;
        std::vector<int64_t> depths;
        std::vector<double> ratios;
    };
    const auto build = [](const Row& row) {
        ScalableViTConfig config;
        for (size_t s = 0; s < 4; ++s) {
            const int64_t dim = row.dim << s;
            config.stages.push_back(
                {dim, dim / 32, row.depths[s], 7, int64_t{8} >> s, 4, row.ratios[s]});
        }
        return config;
    };
    if (name == "scalablevit_s") return build({64, {2, 2, 20, 2}, {1.25, 1.25, 1.25, 1}});
    if (name == "scalablevit_b") return build({96, {2, 2, 14, 6}, {2, 1.25, 1.25, 1}});
    if (name == "scalablevit_l") return build({128, {2, 6, 12, 4}, {.25, .5, 1, 1}});
    throw ModelError("there is no ScalableViT called \"" + name + "\"");
}

ScalableViTConfig ScalableViTConfig::fromJson(const nlohmann::json& text) {
    if (text.contains("variant")) {
        ScalableViTConfig config = variant(text.at("variant").get<std::string>());
        config.numClasses = text.value("num_classes", config.numClasses);
        return config;
    }
    ScalableViTConfig config;
    config.numClasses = text.at("num_classes").get<int64_t>();
    config.bias = text.value("qkv_bias", true);
    config.plainHead = text.value("head", "") == "linear";
    const auto dims = text.at("dims").get<std::vector<int64_t>>();
    for (size_t s = 0; s < dims.size(); ++s)
        config.stages.push_back({dims[s], text.at("num_heads").at(s).get<int64_t>(),
                                 text.at("depths").at(s).get<int64_t>(),
                                 text.at("window_sizes").at(s).get<int64_t>(),
                                 text.at("spatial_reduction").at(s).get<int64_t>(),
                                 text.at("mlp_ratios").at(s).get<double>(),
                                 text.at("channel_ratio").at(s).get<double>()});
    return config;
}

ScalableAttention::ScalableAttention(WeightReader& reader, const std::string& name,
                                     const ScalableViTConfig::Stage& stage, bool bias)
    : stage_(stage) {
    const int64_t d = stage.dim;
    scale_ = 1 / std::sqrt(static_cast<double>(d / stage.heads) * stage.channelRatio);
    proj_ = Projection::read(reader, name + ".proj", d, d);
    if (stage.reduction == 1) {
        q_ = Projection::read(reader, name + ".q", d, d, bias);
        kv_ = Projection::read(reader, name + ".kv", d, 2 * d, bias);
        return;
    }
    const auto few = static_cast<int64_t>(static_cast<double>(d) * stage.channelRatio);
    if (few % stage.heads != 0)
        throw ModelError("ScalableViT: " + std::to_string(few) + " channels do not divide into " +
                         std::to_string(stage.heads) + " heads");
    const int64_t r = stage.reduction;
    shrink_ = Conv::read(reader, name + ".reduction.0", {d, d, r, r, 0, d});
    mix_ = Conv::read(reader, name + ".reduction.1", {d, few, 1, 1, 0, 1});
    norm_ = LayerNorm::read(reader, name + ".norm_act.0", few, kReductionEps);
    q_ = Projection::read(reader, name + ".q", d, few, bias);
    k_ = Projection::read(reader, name + ".k", few, few, bias);
    v_ = Projection::read(reader, name + ".v", few, d, bias);
}

at::Tensor ScalableAttention::forward(const at::Tensor& x, int64_t height, int64_t width,
                                      BackboneTrace* trace, const std::string& name,
                                      at::Tensor* map, AttentionProbe* probe) const {
    at::Tensor k, v;
    int64_t rows = height, columns = width;
    if (shrink_) {
        const at::Tensor reduced = (*mix_)((*shrink_)(tokensToMap(x, height, width)));
        rows = reduced.size(2);
        columns = reduced.size(3);
        if (trace) trace->keep(name + "reduction", reduced);
        const at::Tensor tokens = at::gelu(norm_(mapToTokens(reduced)));
        if (trace) trace->keep(name + "norm_act", tokens);
        k = k_(tokens);
        v = v_(tokens);
    } else {
        const auto both = kv_(x).chunk(2, -1);
        k = both[0];
        v = both[1];
    }
    const at::Tensor q = splitHeads(q_(x), stage_.heads);
    k = splitHeads(k.contiguous(), stage_.heads);
    v = splitHeads(v.contiguous(), stage_.heads);
    if (map) *map = attentionReceived(q, k, {}, scale_).view({x.size(0), rows, columns});
    if (probe) {
        const int64_t query = AttentionProbe::index(probe->v, height) * width +
                              AttentionProbe::index(probe->u, width);
        probe->weights = attentionWeights(q.narrow(2, query, 1), k, {}, scale_)
                             .mean(at::IntArrayRef({1}))
                             .view({x.size(0), rows, columns});
    }
    return proj_(mergeHeads(attend(q, k, v, {}, scale_)));
}

InteractiveAttention::InteractiveAttention(WeightReader& reader, const std::string& name,
                                           int64_t dim, int64_t heads, int64_t window, bool bias)
    : heads_(heads),
      window_(window),
      qkv_(Projection::read(reader, name + ".qkv", dim, 3 * dim, bias)),
      proj_(Projection::read(reader, name + ".proj", dim, dim)),
      exchange_(Conv::read(reader, name + ".lim_func", {dim, dim, 3, 1, 1, dim})) {}

at::Tensor InteractiveAttention::forward(const at::Tensor& x, int64_t height, int64_t width,
                                         BackboneTrace* trace, const std::string& name,
                                         at::Tensor* map, AttentionProbe* probe) const {
    const int64_t b = x.size(0), c = x.size(2), d = c / heads_;
    if (height % window_ != 0 || width % window_ != 0)
        throw ModelError("ScalableViT: a grid of " + std::to_string(height) + " x " +
                         std::to_string(width) + " is no multiple of its window, " +
                         std::to_string(window_));
    const auto parts = qkv_(x).chunk(3, -1);
    // [B, rows, window, columns, window, A, d] to windows.
    const auto toWindows = [&](const at::Tensor& t) {
        return t.reshape({b, height / window_, window_, width / window_, window_, heads_, d})
            .permute({0, 1, 3, 5, 2, 4, 6})
            .reshape({-1, heads_, window_ * window_, d});
    };
    const double scale = 1 / std::sqrt(static_cast<double>(d));
    const at::Tensor q = toWindows(parts[0]), k = toWindows(parts[1]);
    // [B * windows, window^2] to a map.
    const auto toMap = [&](const at::Tensor& t) {
        return t.reshape({b, height / window_, width / window_, window_, window_})
            .transpose(2, 3)
            .reshape({b, height, width});
    };
    if (map) *map = toMap(attentionReceived(q, k, {}, scale));
    if (probe) {
        const int64_t row = AttentionProbe::index(probe->v, height),
                      column = AttentionProbe::index(probe->u, width);
        const int64_t windows = height / window_ * (width / window_),
                      seen = row / window_ * (width / window_) + column / window_,
                      query = row % window_ * window_ + column % window_;
        const auto ofWindow = [&](const at::Tensor& t) {
            return t.view({b, windows, heads_, window_ * window_, d}).select(1, seen);
        };
        at::Tensor all = at::zeros({b, windows, window_ * window_}, q.options());
        all.select(1, seen).copy_(
            attentionWeights(ofWindow(q).narrow(2, query, 1), ofWindow(k), {}, scale)
                .mean(at::IntArrayRef({1}))
                .squeeze(1));
        probe->weights = toMap(all);
    }
    const at::Tensor attended =
        attend(q, k, toWindows(parts[2]), {}, scale)
            .view({b, height / window_, width / window_, heads_, window_, window_, d})
            .permute({0, 1, 4, 2, 5, 3, 6})
            .reshape({b, height * width, c});
    const at::Tensor exchanged = exchange_(tokensToMap(parts[2], height, width));
    if (trace) trace->keep(name + "lim", exchanged);
    return proj_(attended + mapToTokens(exchanged));
}

ScalableViT::ScalableViT(WeightReader& reader, const ScalableViTConfig& config) : config_(config) {
    int64_t channels = 3, stride = 1;
    for (size_t s = 0; s < config.stages.size(); ++s) {
        const auto& c = config.stages[s];
        const std::string number = std::to_string(s);
        stride *= s == 0 ? 4 : 2;
        Stage stage;
        stage.patch = Conv::read(reader, "patch_embeds." + number + ".proj",
                                 s == 0 ? Conv::Shape{channels, c.dim, 7, 4, 3, 1}
                                        : Conv::Shape{channels, c.dim, 3, 2, 1, 1});
        stage.norm = LayerNorm::read(reader, "patch_embeds." + number + ".norm", c.dim, kNormEps);
        stage.position =
            Conv::read(reader, "pos_block." + number + ".proj.0", {c.dim, c.dim, 3, 1, 1, c.dim});
        for (int64_t b = 0; b < c.depth; ++b) {
            const std::string name = "stages." + number + "." + std::to_string(b);
            Block block;
            block.norm1 = LayerNorm::read(reader, name + ".norm1", c.dim, kNormEps);
            if (b % 2 == 0 && c.window != 1)
                block.windows.emplace(reader, name + ".attn", c.dim, c.heads, c.window,
                                      config.bias);
            else
                block.scaled.emplace(reader, name + ".attn", c, config.bias);
            const LayerNorm norm2 = LayerNorm::read(reader, name + ".norm2", c.dim, kNormEps);
            block.mlp =
                ResidualMlp::read(reader, name + ".mlp", norm2,
                                  static_cast<int64_t>(static_cast<double>(c.dim) * c.mlpRatio));
            stage.blocks.push_back(std::move(block));
        }
        stages_.push_back(std::move(stage));
        channels = c.dim;
        multiple_ = std::lcm(multiple_, stride * c.window);
    }
    norm_ = LayerNorm::read(reader, "norm", channels, kNormEps);
    if (config.plainHead) {
        head_ = Linear::read(reader, "head", channels, config.numClasses);
        return;
    }
    wide_ = Linear::read(reader, "head.0", channels, kHeadWidth);
    headNorm_ = LayerNorm::read(reader, "head.1", kHeadWidth, kNormEps);
    head_ = Linear::read(reader, "head.3", kHeadWidth, config.numClasses);
}

std::vector<AttentionMap> ScalableViT::maps() const {
    std::vector<AttentionMap> maps;
    for (size_t s = 0; s < stages_.size(); ++s) {
        const auto& c = config_.stages[s];
        if (c.window != 1 && c.depth > 0) maps.push_back({s, int64_t{4} << s, "windows"});
        if (c.depth > (c.window != 1 ? 1 : 0))
            maps.push_back({s, (int64_t{4} << s) * c.reduction, "whole grid"});
    }
    return maps;
}

at::Tensor ScalableViT::forward(const at::Tensor& image, BackboneTrace* trace) const {
    checkSize(image, multiple_, "ScalableViT");
    at::Tensor x = image;
    const bool wanted = trace && trace->attention;
    size_t mapIndex = 0;
    for (size_t s = 0; s < stages_.size(); ++s) {
        const Stage& stage = stages_[s];
        const std::string name = "stage" + std::to_string(s + 1);
        x = stage.patch(x);
        const int64_t height = x.size(2), width = x.size(3);
        x = stage.norm(mapToTokens(x));
        if (trace) trace->keep(name + ".patch_embed", x);
        at::Tensor windows, scaled;  // the maps of the last block of each kind
        const auto& c = config_.stages[s];
        const bool anyWindows = c.window != 1 && c.depth > 0;
        const size_t scaledIndex = mapIndex + (anyWindows ? 1 : 0);
        for (size_t b = 0; b < stage.blocks.size(); ++b) {
            const Block& block = stage.blocks[b];
            const std::string blockName = name + ".block" + std::to_string(b);
            const at::Tensor normed = block.norm1(x);
            const at::Tensor y =
                block.windows ? block.windows->forward(normed, height, width, nullptr, {},
                                                       wanted ? &windows : nullptr,
                                                       trace ? trace->probeOf(mapIndex) : nullptr)
                              : block.scaled->forward(
                                    normed, height, width, nullptr, {}, wanted ? &scaled : nullptr,
                                    trace ? trace->probeOf(scaledIndex) : nullptr);
            if (trace) trace->keep(blockName + ".attn", y);
            x = x + y;
            x = block.mlp(x);
            if (trace) trace->keep(blockName, x);
            if (b > 0) continue;
            const at::Tensor grid = tokensToMap(x, height, width);
            x = mapToTokens(stage.position(grid) + grid);
            if (trace) trace->keep(name + ".position", x);
        }
        for (const auto& map : {windows, scaled})
            if (map.defined()) trace->maps.push_back(evenShares(map));
        mapIndex = scaledIndex + (c.depth > (anyWindows ? 1 : 0) ? 1 : 0);
        if (s + 1 < stages_.size()) x = tokensToMap(x, height, width);
    }
    x = norm_(x);
    if (trace) trace->keep("norm", x);
    x = x.mean(at::IntArrayRef({1}));
    if (trace) trace->keep("pooled", x);
    x = config_.plainHead ? head_(x) : head_(at::gelu(headNorm_(wide_(x))));
    if (trace) trace->keep("logits", x);
    return x;
}

}  // namespace atlas::engine
