// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/halonet.h"

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/conv1d.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// Kernel of efficient channel attention: odd, 3 or more, growing with the logarithm.
int64_t channelKernelSize(int64_t channels) {
    const auto size = std::max<int64_t>(
        3, static_cast<int64_t>((std::log2(static_cast<double>(channels)) + 1) / 2));
    return size % 2 == 0 ? size + 1 : size;
}

HaloBlockConfig bottle(int64_t out, double ratio, int64_t groups = 0) {
    HaloBlockConfig block;
    block.out = out;
    block.ratio = ratio;
    block.groupSize = groups;
    return block;
}

/// Depths and widths of a residual network; `attention` lists {stage, block}, counted from 0.
std::vector<HaloNetConfig::Stage> stagesOf(const std::vector<int64_t>& depths,
                                           const std::vector<int64_t>& widths, double ratio,
                                           const std::vector<std::pair<size_t, size_t>>& attention,
                                           const HaloOptions& halo, int64_t groups = 0,
                                           int64_t firstStride = 1) {
    std::vector<HaloNetConfig::Stage> stages;
    for (size_t s = 0; s < depths.size(); ++s)
        stages.push_back({s == 0 ? firstStride : 2,
                          std::vector<HaloBlockConfig>(static_cast<size_t>(depths[s]),
                                                       bottle(widths[s], ratio, groups))});
    for (const auto& [s, b] : attention) {
        stages[s].blocks.at(b).attention = true;
        stages[s].blocks[b].halo = halo;
    }
    return stages;
}

/// The paper's own family: stage widths 64 to 512, attention in every block.
HaloNetConfig paperVariant(size_t number) {
    struct Row {
        int64_t block, halo;
        double value, bottleneck;
        std::vector<int64_t> depths;
        int64_t final;
    };
    static const std::vector<Row> rows{
        {8, 3, 1, .5, {3, 3, 7, 3}, 0},       {8, 3, 1, 1, {3, 3, 10, 3}, 0},
        {8, 3, 1, 1.25, {3, 3, 11, 3}, 0},    {10, 3, 1, 1.5, {3, 3, 12, 3}, 1024},
        {12, 2, 1, 3, {3, 3, 12, 3}, 1280},   {14, 2, 2.5, 2, {3, 3, 23, 3}, 1536},
        {8, 4, 3, 2.75, {3, 3, 24, 3}, 1536}, {10, 3, 4, 3.5, {3, 3, 26, 3}, 2048}};
    const Row& row = rows.at(number);
    HaloNetConfig config;
    config.stem = "7x7";
    config.activation = "relu";
    config.finalChannels = row.final;
    for (size_t s = 0; s < 4; ++s) {
        const int64_t width = 64 << s;
        HaloBlockConfig block;
        block.attention = true;
        block.out = static_cast<int64_t>(static_cast<double>(width) * row.bottleneck);
        block.middle = width;
        block.valueRatio = row.value;
        block.halo = {.block = row.block, .halo = row.halo, .heads = s == 0 ? 4 : 8};
        block.halo.qkRatio = 1 / row.value;  // values alone are wider
        config.stages.push_back({s == 0 ? 1 : 2, std::vector<HaloBlockConfig>(
                                                     static_cast<size_t>(row.depths[s]), block)});
    }
    return config;
}

}  // namespace

HaloOptions HaloOptions::fromJson(const json& text) {
    HaloOptions o;
    o.block = text.value("block_size", o.block);
    o.halo = text.value("halo_size", o.halo);
    o.heads = text.value("num_heads", o.heads);
    o.stride = text.value("stride", o.stride);
    o.headDim = text.value("dim_head", o.headDim);
    o.qkRatio = text.value("qk_ratio", o.qkRatio);
    o.bias = text.value("qkv_bias", o.bias);
    o.averageDown = text.value("avg_down", o.averageDown);
    o.scalePosition = text.value("scale_pos_embed", o.scalePosition);
    if (o.block < 1 || o.halo < 0 || o.heads < 1 || o.stride < 1 || o.stride > 2)
        throw ModelError("halo attention: its block, halo, heads or stride make no sense");
    return o;
}

HaloAttention::HaloAttention(WeightReader& reader, const std::string& name,
                             const HaloOptions& options, int64_t in, int64_t out)
    : o_(options) {
    headDim_ = o_.headDim > 0 ? o_.headDim
                              : makeDivisible(static_cast<double>(out) * o_.qkRatio) / o_.heads;
    valueDim_ = out / o_.heads;
    const int64_t stride = o_.pools() ? 1 : o_.stride;
    q_ = Conv::read(reader, name + ".q", {in, headDim_ * o_.heads, 1, stride, 0, 1}, o_.bias);
    kv_ = Conv::read(reader, name + ".kv", {in, (headDim_ + valueDim_) * o_.heads, 1, 1, 0, 1},
                     o_.bias);
    const int64_t window = o_.block + 2 * o_.halo;
    heightTable_ = reader.take(name + ".pos_embed.height_rel", {2 * window - 1, headDim_});
    widthTable_ = reader.take(name + ".pos_embed.width_rel", {2 * window - 1, headDim_});
}

at::Tensor HaloAttention::forward(const at::Tensor& x, BackboneTrace* trace,
                                  const std::string& name, at::Tensor* map,
                                  AttentionProbe* probe) const {
    const int64_t b = x.size(0), height = x.size(2), width = x.size(3), heads = o_.heads;
    if (height % o_.block != 0 || width % o_.block != 0)
        throw ModelError("halo attention: a map of " + std::to_string(height) + " x " +
                         std::to_string(width) + " is no multiple of its block, " +
                         std::to_string(o_.block));
    const int64_t n = o_.block + 2 * o_.halo, stride = o_.pools() ? 1 : o_.stride,
                  side = o_.block / stride;
    const double scale = 1 / std::sqrt(static_cast<double>(headDim_));
    const at::Tensor q = q_(x), kv = kv_(x);
    if (trace) trace->keep(name + "q", q);
    if (trace) trace->keep(name + "kv", kv);
    // Heads outermost, channels last: [B, A, H, W, d].
    const at::Tensor queries =
        q.view({b, heads, headDim_, height / stride, width / stride}).permute({0, 1, 3, 4, 2});
    const at::Tensor both = at::constant_pad_nd(
        kv.view({b, heads, headDim_ + valueDim_, height, width}).permute({0, 1, 3, 4, 2}),
        {0, 0, o_.halo, o_.halo, o_.halo, o_.halo});
    const at::Tensor keys = both.slice(4, 0, headDim_), values = both.slice(4, headDim_);
    // Table rows of each query row and window row: the raw difference of their indices.
    const at::Tensor difference =
        (at::arange(n).unsqueeze(0) - at::arange(side).unsqueeze(1) + n - 1).flatten();
    const at::Tensor heightRows = heightTable_.index_select(0, difference).view({side, n, -1}),
                     widthRows = widthTable_.index_select(0, difference).view({side, n, -1});
    std::vector<at::Tensor> positions;
    at::Tensor received, probed;
    int64_t askedRow = 0, askedColumn = 0;  // in the grid of queries
    if (probe) {
        askedRow = AttentionProbe::index(probe->v, height / stride);
        askedColumn = AttentionProbe::index(probe->u, width / stride);
        probed = at::zeros({b, height + 2 * o_.halo, width + 2 * o_.halo}, x.options());
    }
    if (map) received = at::zeros({b, height + 2 * o_.halo, width + 2 * o_.halo}, x.options());
    auto rows = attendRows(height / o_.block, scale, [&](int64_t row) {
        const at::Tensor qw = windowsOfRow(queries, row, side, side),
                         kw = windowsOfRow(keys, row, o_.block, n),
                         vw = windowsOfRow(values, row, o_.block, n);
        const int64_t windows = qw.size(0);
        const at::Tensor grid = qw.view({windows, heads, side, side, headDim_});
        // [windows, heads, y, x, u] and [.., v], added over the window.
        const at::Tensor byRow = at::matmul(grid, heightRows.transpose(1, 2)),
                         byColumn = at::matmul(grid.transpose(2, 3), widthRows.transpose(1, 2))
                                        .transpose(2, 3);
        const at::Tensor position = (byRow.unsqueeze(5) + byColumn.unsqueeze(4))
                                        .reshape({windows, heads, side * side, n * n});
        if (trace && trace->intermediate) positions.push_back(position);
        const at::Tensor mask = o_.scalePosition ? position * scale : position;
        if (map) {
            const std::vector<int64_t> headsAndQueries{1, 2};
            const at::Tensor sums =
                attentionWeights(qw, kw, mask, scale).sum(headsAndQueries).view({b, -1, n, n});
            for (int64_t column = 0; column < sums.size(1); ++column)
                received.narrow(1, row * o_.block, n)
                    .narrow(2, column * o_.block, n)
                    .add_(sums.select(1, column));
        }
        if (probe && askedRow / side == row) {
            const int64_t column = askedColumn / side,
                          query = askedRow % side * side + askedColumn % side;
            const auto ofWindow = [&](const at::Tensor& t) {
                return t.view({b, -1, heads, t.size(2), t.size(3)}).select(1, column);
            };
            probed.narrow(1, row * o_.block, n)
                .narrow(2, column * o_.block, n)
                .copy_(attentionWeights(ofWindow(qw).narrow(2, query, 1), ofWindow(kw),
                                        ofWindow(mask).narrow(2, query, 1), scale)
                           .mean(at::IntArrayRef({1}))
                           .view({b, n, n}));
        }
        return WindowRow{qw, kw, vw, mask};
    });
    for (auto& row : rows) row = rowOfWindows(row, b, side);
    if (probe) probe->weights = probed.narrow(1, o_.halo, height).narrow(2, o_.halo, width);
    if (map) *map = received.narrow(1, o_.halo, height).narrow(2, o_.halo, width);
    if (trace && trace->intermediate) {
        // [B * heads, blocks, queries, window cells]
        const at::Tensor all = at::stack(positions, 1);  // [B*columns, rows, A, ...]
        const int64_t columns = width / o_.block;
        trace->keep(name + "position_logits", all.view({b, columns, -1, heads, side * side, n * n})
                                                  .permute({0, 3, 2, 1, 4, 5})
                                                  .reshape({b * heads, -1, side * side, n * n}));
    }
    const at::Tensor y = at::cat(rows, 2).permute({0, 1, 4, 2, 3}).flatten(1, 2);
    return o_.pools() ? at::avg_pool2d(y, {2, 2}) : y;
}

HaloNetConfig HaloNetConfig::fromJson(const json& text) {
    if (text.contains("variant")) {
        HaloNetConfig config = variant(text.at("variant").get<std::string>());
        config.numClasses = text.value("num_classes", config.numClasses);
        return config;
    }
    HaloNetConfig config;
    config.stem = text.at("stem_type").get<std::string>();
    config.stemPool = !text.at("stem_pool").get<std::string>().empty();
    config.stemChannels = text.at("stem_channels").get<int64_t>();
    config.shortcut = text.at("shortcut").get<std::string>();
    config.activation = text.at("activation").get<std::string>();
    if (text.at("channel_attention").is_string())
        config.channelAttention = text.at("channel_attention").get<std::string>();
    config.reduction =
        text.value("channel_attention_options", json::object()).value("rd_ratio", config.reduction);
    const json options = text.value("block_options", json::object());
    config.bottleIn = options.value("bottle_in", false);
    config.linearOut = options.value("linear_out", false);
    config.finalChannels = text.value("final_conv_channels", int64_t{0});
    config.numClasses = text.at("num_classes").get<int64_t>();
    for (const auto& s : text.at("stages")) {
        Stage stage{s.at("stride").get<int64_t>(), {}};
        for (const auto& b : s.at("blocks")) {
            HaloBlockConfig block =
                bottle(b.at("out_channels").get<int64_t>(), b.at("bottleneck_ratio").get<double>(),
                       b.value("group_size", int64_t{0}));
            block.attention = b.at("type") == "self_attn";
            if (block.attention) block.halo = HaloOptions::fromJson(b.at("self_attn"));
            stage.blocks.push_back(block);
        }
        config.stages.push_back(std::move(stage));
    }
    return config;
}

std::vector<std::string> HaloNetConfig::variants() {
    std::vector<std::string> names{"halonet26t", "halonet50ts", "sehalonet33ts", "eca_halonext26ts",
                                   "haloregnetz_b"};
    for (int i = 0; i < 8; ++i) names.push_back("halonet_h" + std::to_string(i));
    return names;
}

HaloNetConfig HaloNetConfig::variant(const std::string& name) {
    const std::vector<int64_t> usual{256, 512, 1024, 2048};
    HaloNetConfig config;
    if (name == "halonet26t") {
        config.activation = "relu";
        config.stages = stagesOf({2, 2, 2, 2}, usual, .25, {{2, 1}, {3, 0}, {3, 1}},
                                 {.block = 8, .halo = 2, .heads = 8});
    } else if (name == "halonet50ts") {
        config.stages = stagesOf({3, 4, 6, 3}, usual, .25, {{1, 3}, {2, 1}, {2, 3}, {2, 5}, {3, 1}},
                                 {.block = 8, .halo = 3, .heads = 8});
        config.stages[1].blocks[3].halo.heads = 4;
    } else if (name == "sehalonet33ts") {
        config.stemPool = false;
        config.channelAttention = "se";
        config.finalChannels = 1280;
        config.stages =
            stagesOf({2, 3, 3, 2}, {256, 512, 1024, 1536}, .25, {{1, 2}, {2, 2}, {3, 0}, {3, 1}},
                     {.block = 8, .halo = 3, .heads = 8});
        config.stages[0].stride = 2;
        for (auto& block : config.stages[3].blocks) block.ratio = .333;
    } else if (name == "eca_halonext26ts") {
        config.channelAttention = "eca";
        config.stages = stagesOf({2, 2, 2, 2}, usual, .25, {{2, 1}, {3, 0}, {3, 1}},
                                 {.block = 8, .halo = 2, .heads = 8, .headDim = 16}, 16);
    } else if (name == "haloregnetz_b") {
        config.stem = "3x3";
        config.stemPool = false;
        config.stemChannels = 32;
        config.shortcut = "";
        config.channelAttention = "se";
        config.reduction = .25;
        config.bottleIn = config.linearOut = true;
        config.finalChannels = 1536;
        config.stages = stagesOf({2, 6, 12, 2}, {48, 96, 192, 288}, 3,
                                 {{2, 3}, {2, 7}, {2, 11}, {3, 0}, {3, 1}},
                                 {.block = 7, .halo = 2, .heads = 8, .qkRatio = .33}, 16, 2);
    } else if (name.size() == 10 && name.starts_with("halonet_h") && name[9] >= '0' &&
               name[9] <= '7') {
        return paperVariant(static_cast<size_t>(name[9] - '0'));
    } else {
        throw ModelError("there is no HaloNet called \"" + name + "\"");
    }
    return config;
}

HaloNet::HaloNet(WeightReader& reader, const HaloNetConfig& config)
    : config_(config),
      activation_(config.activation == "relu" ? Activation::Relu : Activation::Silu) {
    const int64_t c = config.stemChannels;
    int64_t stride = 2;
    if (config.stem == "tiered") {
        const int64_t widths[] = {3, 3 * c / 8, c / 2, c};
        for (int64_t i = 1; i <= 3; ++i)
            stem_.push_back(
                Conv::readWithNorm(reader, "stem.conv" + std::to_string(i),
                                   {widths[i - 1], widths[i], 3,
                                    i == 1 || (i == 3 && !config.stemPool) ? 2 : 1, 0, 1}));
        if (!config.stemPool) stride *= 2;
    } else if (config.stem == "7x7") {
        stem_.push_back(Conv::readWithNorm(reader, "stem.conv1", {3, c, 7, 2, 0, 1}));
    } else if (config.stem == "3x3") {
        stem_.push_back(Conv::readWithNorm(reader, "stem", {3, c, 3, 2, 0, 1}));
    } else {
        throw ModelError("HaloNet: the stem \"" + config.stem + "\" is not known");
    }
    if (config.stemPool) stride *= 2;
    int64_t in = c;
    for (size_t s = 0; s < config.stages.size(); ++s) {
        const auto& stage = config.stages[s];
        std::vector<Block> blocks;
        int64_t mapStride = 0;  // of the input of the stage's last attention
        for (size_t b = 0; b < stage.blocks.size(); ++b) {
            const auto& bc = stage.blocks[b];
            const std::string name = "stages." + std::to_string(s) + "." + std::to_string(b);
            const int64_t step = b == 0 ? stage.stride : 1;
            const int64_t middle =
                bc.middle > 0
                    ? bc.middle
                    : makeDivisible(static_cast<double>(config.bottleIn ? in : bc.out) * bc.ratio);
            Block block;
            block.first = Conv::readWithNorm(reader, name + ".conv1_1x1", {in, middle, 1, 1, 0, 1});
            int64_t wide = middle;
            if (bc.attention) {
                HaloOptions options = bc.halo;
                options.stride = step;
                wide = static_cast<int64_t>(static_cast<double>(middle) * bc.valueRatio);
                block.attention.emplace(reader, name + ".self_attn", options, middle, wide);
                block.after = ChannelAffine::read(reader, name + ".post_attn", wide);
                multiple_ = std::lcm(multiple_, stride * options.block);
                mapStride = stride;
            } else {
                const int64_t groups = bc.groupSize > 0 ? middle / bc.groupSize : 1;
                block.middle = Conv::readWithNorm(reader, name + ".conv2_kxk",
                                                  {middle, middle, 3, step, 0, groups});
                if (config.channelAttention == "se") {
                    const int64_t few = makeDivisible(
                        static_cast<double>(middle) * config.reduction, 8, /*limit=*/0);
                    block.squeeze =
                        Conv::read(reader, name + ".attn.fc1", {middle, few, 1, 1, 0, 1});
                    block.excite =
                        Conv::read(reader, name + ".attn.fc2", {few, middle, 1, 1, 0, 1});
                } else if (config.channelAttention == "eca") {
                    block.channelKernel =
                        reader.take(name + ".attn.conv.weight", {1, 1, channelKernelSize(middle)});
                }
            }
            block.last =
                Conv::readWithNorm(reader, name + ".conv3_1x1", {wide, bc.out, 1, 1, 0, 1});
            block.identity = step == 1 && in == bc.out;
            if (!block.identity && config.shortcut == "conv1x1")
                block.shortcut =
                    Conv::readWithNorm(reader, name + ".shortcut", {in, bc.out, 1, step, 0, 1});
            blocks.push_back(std::move(block));
            in = bc.out;
            stride *= step;
        }
        stages_.push_back(std::move(blocks));
        if (mapStride > 0) maps_.push_back({s, mapStride, ""});
    }
    multiple_ = std::lcm(multiple_, stride);
    if (config.finalChannels > 0) {
        final_ = Conv::readWithNorm(reader, "final_conv", {in, config.finalChannels, 1, 1, 0, 1});
        in = config.finalChannels;
    }
    head_ = Linear::read(reader, "head.fc", in, config.numClasses);
}

at::Tensor HaloNet::weighChannels(const Block& block, const at::Tensor& x) const {
    const std::vector<int64_t> places{2, 3};
    const at::Tensor mean = x.mean(places, /*keepdim=*/true);
    if (block.squeeze) return x * (*block.excite)(at::relu((*block.squeeze)(mean))).sigmoid();
    if (!block.channelKernel.defined()) return x;
    const at::Tensor weights = at::conv1d(mean.flatten(1).unsqueeze(1), block.channelKernel, {}, 1,
                                          block.channelKernel.size(2) / 2);
    return x * weights.sigmoid().transpose(1, 2).unsqueeze(3);
}

at::Tensor HaloNet::forward(const at::Tensor& image, BackboneTrace* trace) const {
    checkSize(image, multiple_, "HaloNet");
    at::Tensor x = image;
    for (const auto& conv : stem_) x = conv(x, activation_);
    if (config_.stemPool) x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    if (trace) trace->keep("stem", x);
    size_t mapIndex = 0;
    for (size_t s = 0; s < stages_.size(); ++s) {
        const std::string stage = "stage" + std::to_string(s + 1);
        const bool mapped = mapIndex < maps_.size() && maps_[mapIndex].stage == s;
        at::Tensor map;
        for (size_t b = 0; b < stages_[s].size(); ++b) {
            const Block& block = stages_[s][b];
            const std::string name = stage + ".block" + std::to_string(b);
            at::Tensor y = block.first(x, activation_);
            if (block.attention) {
                y = block.attention->forward(y, nullptr, {},
                                             trace && trace->attention ? &map : nullptr,
                                             trace ? trace->probeOf(mapIndex) : nullptr);
                if (trace) trace->keep(name + ".self_attn", y);
                y = activate((*block.after)(y), activation_);
            } else {
                y = weighChannels(block, (*block.middle)(y, activation_));
                if (trace && !config_.channelAttention.empty()) trace->keep(name + ".attn", y);
            }
            y = block.last(y);
            if (block.identity)
                y.add_(x);
            else if (block.shortcut)
                y.add_((*block.shortcut)(x));
            x = config_.linearOut ? y : activate(y, activation_);
            if (trace) trace->keep(name, x);
        }
        if (trace) trace->keep(stage, x);
        if (mapped && trace && trace->attention) trace->maps.push_back(evenShares(map));
        mapIndex += mapped;
    }
    if (final_) {
        x = (*final_)(x, activation_);
        if (trace) trace->keep("final_conv", x);
    }
    const std::vector<int64_t> places{2, 3};
    x = x.mean(places);
    if (trace) trace->keep("pooled", x);
    x = head_(x);
    if (trace) trace->keep("logits", x);
    return x;
}

}  // namespace atlas::engine
