// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/backbones/vil.h"

#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_linear1d.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr double kNormEps = 1e-6;
constexpr int64_t kMlpRatio = 4;
constexpr int64_t kBiasAtOnce = 1 << 22;  // entries of a relative bias
constexpr float kNever = -INFINITY;

/// [1, n, d] to another length, half-pixel centres.
at::Tensor resampled(const at::Tensor& table, int64_t length) {
    if (table.size(1) == length) return table;
    return at::upsample_linear1d(table.transpose(1, 2), {length}, false).transpose(1, 2);
}

/// A bias table over relative places, [(2h-1)(2w-1), heads], for another grid.
at::Tensor resampledTable(const at::Tensor& table, int64_t height, int64_t width, int64_t toHeight,
                          int64_t toWidth) {
    if (height == toHeight && width == toWidth) return table;
    const at::Tensor map = table.t().reshape({1, table.size(1), 2 * height - 1, 2 * width - 1});
    return at::upsample_bilinear2d(map, {2 * toHeight - 1, 2 * toWidth - 1}, false)
        .flatten(2)[0]
        .t();
}

/// Row of the table for each pair: [a.numel(), b.numel()] of row and column differences.
at::Tensor pairIndex(const at::Tensor& rowsA, const at::Tensor& colsA, const at::Tensor& rowsB,
                     const at::Tensor& colsB, int64_t offset, int64_t offsetColumns,
                     int64_t columns) {
    const at::Tensor dr = rowsA.unsqueeze(1) - rowsB.unsqueeze(0),
                     dc = colsA.unsqueeze(1) - colsB.unsqueeze(0);
    return (dr + offset) * columns + dc + offsetColumns;
}

struct Grid {
    at::Tensor rows, columns;  ///< of each place, row by row
    Grid(int64_t height, int64_t width, int64_t first = 0) {
        rows = (at::arange(first, first + height).unsqueeze(1) + at::zeros({1, width}, at::kLong))
                   .flatten();
        columns =
            (at::arange(first, first + width).unsqueeze(0) + at::zeros({height, 1}, at::kLong))
                .flatten();
    }
};

/// The table's entries as [heads, a, b].
at::Tensor lookUp(const at::Tensor& table, const at::Tensor& index) {
    return table.index_select(0, index.flatten())
        .view({index.size(0), index.size(1), -1})
        .permute({2, 0, 1});
}

int64_t up(int64_t v, int64_t multiple) {
    return (v + multiple - 1) / multiple * multiple;
}

}  // namespace

std::vector<VilStageConfig> VilConfig::parseArch(const std::string& arch) {
    std::vector<VilStageConfig> stages;
    std::istringstream text(arch);
    bool full = false;
    for (std::string part; std::getline(text, part, '_');) {
        VilStageConfig stage;
        std::istringstream fields(part);
        for (std::string field; std::getline(fields, field, ',');) {
            int64_t value = 0;
            try {
                value = std::stoll(field.substr(1));
            } catch (const std::exception&) {
                throw ModelError("arch: \"" + field + "\" is not a letter and a number");
            }
            switch (field[0]) {
                case 'l':
                    break;
                case 'h':
                    stage.heads = value;
                    break;
                case 'd':
                    stage.dim = value;
                    break;
                case 'n':
                    stage.depth = value;
                    break;
                case 's':
                    stage.sliding = value != 0;
                    break;
                case 'g':
                    stage.globals = value;
                    break;
                case 'p':
                    stage.patch = value;
                    break;
                case 'f':
                    stage.window = value;
                    break;
                case 'a':
                    stage.absolute = value != 0;
                    break;
                default:
                    throw ModelError("arch: \"" + field + "\" is not known");
            }
        }
        full |= !stage.sliding;
        stage.sliding = !full;
        if (stage.heads < 1 || stage.dim < 1 || stage.dim % stage.heads != 0 || stage.depth < 0 ||
            stage.patch < 1 || stage.window < 1 || stage.globals < 0 || stage.dim % 2 != 0)
            throw ModelError("arch: \"" + part + "\" makes no sense");
        stages.push_back(stage);
    }
    if (stages.empty()) throw ModelError("arch: there is no stage");
    return stages;
}

VilConfig VilConfig::fromJson(const nlohmann::json& json) {
    VilConfig config;
    config.stages = parseArch(json.at("arch").get<std::string>());
    config.imageSize = json.value("image_size", config.imageSize);
    config.numClasses = json.value("num_classes", config.numClasses);
    config.maskRule = json.value("mask_rule", 0);
    config.neighbourMode = std::min(0, json.value("neighbour_mode", 0));  // 1 to 8: training alone
    config.patchNorm = json.value("patch_norm", true);
    config.averagePool = json.value("average_pool_all_tokens", false);
    return config;
}

VilAttention::VilAttention(WeightReader& reader, const std::string& name, const Options& options)
    : o_(options) {
    const auto& s = o_.stage;
    proj_ = Projection::read(reader, name + ".proj", s.dim, s.dim);
    reader.ignore(name + ".relative_position_index");
    if (s.sliding) {
        query_ = Projection::read(reader, name + ".query", s.dim, s.dim);
        kv_ = Projection::read(reader, name + ".kv", s.dim, 2 * s.dim);
        // Shared projections are there as copies, or not at all.
        const bool own = s.globals > 0 && reader.has(name + ".query_global.weight");
        queryGlobal_ =
            own ? Projection::read(reader, name + ".query_global", s.dim, s.dim) : query_;
        kvGlobal_ = own ? Projection::read(reader, name + ".kv_global", s.dim, 2 * s.dim) : kv_;
        projGlobal_ = own ? Projection::read(reader, name + ".proj_global", s.dim, s.dim) : proj_;
    } else {
        qkv_ = Projection::read(reader, name + ".qkv", s.dim, 3 * s.dim);
    }
    if (!o_.bias) return;
    const int64_t rows = s.sliding ? (4 * s.window - 1) * (4 * s.window - 1)
                                   : (2 * o_.height - 1) * (2 * o_.width - 1);
    table_ = reader.take(name + ".local_relative_position_bias_table", {rows, s.heads});
    if (s.globals == 0) return;
    g2l_ = reader.take(name + ".g2l_relative_position_bias", {2, s.heads, s.globals});
    g2g_ = reader.take(name + ".g2g_relative_position_bias", {s.heads, s.globals, s.globals});
}

at::Tensor VilAttention::forward(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                                 AttentionProbe* probe) const {
    return o_.stage.sliding ? sliding(x, height, width, maps, probe)
                            : full(x, height, width, maps, probe);
}

/// [1, heads, count, globals + places] of the queries from `first` on, which count likewise.
/// `table`: for this grid.
at::Tensor VilAttention::fullBias(const at::Tensor& table, int64_t height, int64_t width,
                                  int64_t first, int64_t count) const {
    const int64_t g = o_.stage.globals, n = height * width, heads = o_.stage.heads;
    std::vector<at::Tensor> rows;
    if (first < g)
        rows.push_back(at::cat({g2g_, g2l_[0].unsqueeze(2).expand({heads, g, n})}, 2)
                           .slice(1, first, std::min(g, first + count)));
    if (first + count > g) {
        const int64_t from = std::max<int64_t>(0, first - g), to = first + count - g;
        const Grid grid(height, width);
        const at::Tensor local =
            lookUp(table, pairIndex(grid.rows.slice(0, from, to), grid.columns.slice(0, from, to),
                                    grid.rows, grid.columns, height - 1, width - 1, 2 * width - 1));
        rows.push_back(
            g == 0 ? local
                   : at::cat({g2l_[1].unsqueeze(1).expand({heads, to - from, g}), local}, 2));
    }
    return at::cat(rows, 1).unsqueeze(0);
}

at::Tensor VilAttention::full(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                              AttentionProbe* probe) const {
    const int64_t heads = o_.stage.heads, g = o_.stage.globals, b = x.size(0);
    const int64_t tokens = g + height * width;
    const auto parts = qkv_(x).chunk(3, -1);
    const at::Tensor q = splitHeads(parts[0], heads), k = splitHeads(parts[1], heads),
                     v = splitHeads(parts[2], heads);
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor table =
        o_.bias ? resampledTable(table_, o_.height, o_.width, height, width) : at::Tensor();
    const auto biasOf = [&](int64_t first, int64_t count) {
        return o_.bias ? fullBias(table, height, width, first, count) : at::Tensor();
    };
    const auto toMap = [&](const at::Tensor& weights) {
        return weights.slice(-1, g).reshape({b, height, width});
    };
    if (maps && g > 0)
        maps->global = toMap(attentionReceived(q.slice(2, 0, 1), k, biasOf(0, 1), scale));
    if (probe) {
        const int64_t query = g + AttentionProbe::index(probe->v, height) * width +
                              AttentionProbe::index(probe->u, width);
        probe->weights = toMap(attentionWeights(q.narrow(2, query, 1), k, biasOf(query, 1), scale)
                                   .mean(at::IntArrayRef({1})));
    }
    // With a bias some queries at a time: memory grows with the number of keys alone.
    const int64_t step = o_.bias && !PlainAttention::on()
                             ? std::max<int64_t>(1, kBiasAtOnce / (heads * tokens))
                             : tokens;
    std::vector<at::Tensor> rows;
    at::Tensor received;
    for (int64_t first = 0; first < tokens; first += step) {
        const int64_t count = std::min(step, tokens - first);
        const at::Tensor some = q.narrow(2, first, count), bias = biasOf(first, count);
        rows.push_back(attend(some, k, v, bias, scale));
        if (!maps || first + count <= g) continue;
        const int64_t skip = std::max<int64_t>(0, g - first);  // queries that are no places
        const at::Tensor part = attentionReceived(
            some.slice(2, skip), k, bias.defined() ? bias.slice(2, skip) : bias, scale);
        received = received.defined() ? received + part : part;
    }
    if (maps) maps->local = toMap(received);
    return proj_(mergeHeads(at::cat(rows, 2)));
}

/// [1, heads, window^2, keys]: keys of the square that reaches `halo` beyond the window.
at::Tensor VilAttention::windowBias(int64_t halo) const {
    const int64_t w = o_.stage.window, n = w + 2 * halo;
    const Grid queries(w, w), keys(n, n, -halo);
    const at::Tensor index = pairIndex(queries.rows, queries.columns, keys.rows, keys.columns,
                                       2 * w - 1, 2 * w - 1, 4 * w - 1);
    at::Tensor bias;
    if (o_.bias && !o_.globalsOnly) bias = lookUp(table_, index).unsqueeze(0);
    if (o_.maskRule != 1) return bias;
    const at::Tensor dr = queries.rows.unsqueeze(1) - keys.rows.unsqueeze(0),
                     dc = queries.columns.unsqueeze(1) - keys.columns.unsqueeze(0);
    const at::Tensor far = (dr.abs() > w).logical_or(dc.abs() > w);
    const at::Tensor mask = at::zeros(far.sizes(), at::kFloat).masked_fill(far, kNever);
    return bias.defined() ? bias + mask : mask.view({1, 1, mask.size(0), mask.size(1)});
}

/// Rows of windows one after another: memory grows with the width of the image alone.
at::Tensor VilAttention::local(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               int64_t height, int64_t width, VilMaps* maps,
                               AttentionProbe* probe) const {
    const int64_t w = o_.stage.window, g = o_.stage.globals, heads = q.size(1), d = q.size(3),
                  b = q.size(0);
    const int64_t halo = o_.neighbourMode < 0 ? 0 : w, n = w + 2 * halo;
    const int64_t tall = up(height, w), wide = up(width, w);
    const int64_t askedRow = probe ? AttentionProbe::index(probe->v, height) : 0,
                  askedColumn = probe ? AttentionProbe::index(probe->u, width) : 0;
    const double scale = 1 / std::sqrt(static_cast<double>(d));
    const at::Tensor kg = k.slice(2, 0, g), vg = v.slice(2, 0, g);
    if (o_.globalsOnly) {
        if (maps) maps->local = at::zeros({b, height, width}, q.options());
        return attend(q, kg, vg, {}, scale);
    }
    const auto toMap = [&](const at::Tensor& x, int64_t around) {
        const at::Tensor map = at::constant_pad_nd(x.reshape({b, heads, height, width, d}),
                                                   {0, 0, 0, wide - width, 0, tall - height});
        if (around == 0) return map;
        if (o_.maskRule != -1)
            return at::constant_pad_nd(map, {0, 0, around, around, around, around});
        const at::Tensor across =
            at::cat({map.slice(3, wide - around), map, map.slice(3, 0, around)}, 3);
        return at::cat({across.slice(2, tall - around), across, across.slice(2, 0, around)}, 2);
    };
    const at::Tensor queries = toMap(q, 0), keys = toMap(k.slice(2, g), halo),
                     values = toMap(v.slice(2, g), halo);
    // Which rows and columns of the padded map may be looked at. Wrapped round, padding is lost
    // only where it was not reached by wrapping.
    const auto allowed = [&](int64_t length, int64_t padded) {
        const at::Tensor at = at::arange(-halo, padded + halo);
        if (o_.maskRule == -1) return at.ge(length).logical_and(at.lt(padded)).logical_not();
        return at.ge(0).logical_and(at.lt(length));
    };
    const at::Tensor rowOk = allowed(height, tall), columnOk = allowed(width, wide).unfold(0, n, w);
    const at::Tensor bias = windowBias(halo);
    const int64_t columns = wide / w;
    at::Tensor received;                // with the halo around
    std::vector<at::Tensor> onGlobals;  // rows of windows
    if (maps) received = at::zeros({b, tall + 2 * halo, wide + 2 * halo}, q.options());
    auto rows = attendRows(tall / w, scale, [&](int64_t row) {
        at::Tensor kw = windowsOfRow(keys, row, w, n), vw = windowsOfRow(values, row, w, n);
        const at::Tensor ok = rowOk.narrow(0, row * w, n)
                                  .view({1, n, 1})
                                  .logical_and(columnOk.view({columns, 1, n}))
                                  .reshape({columns, 1, 1, n * n});
        at::Tensor mask = at::zeros({columns, 1, 1, n * n}, q.options())
                              .masked_fill(ok.logical_not().to(q.device()), kNever);
        if (bias.defined()) mask = mask + bias;
        if (g > 0) {
            at::Tensor first = at::zeros({1, 1, 1, g}, q.options());
            if (o_.bias) first = g2l_[1].view({1, heads, 1, g});
            const int64_t h = std::max(mask.size(1), first.size(1));
            mask = at::cat({first.expand({columns, h, mask.size(2), g}),
                            mask.expand({columns, h, mask.size(2), n * n})},
                           3);
            const auto repeated = [&](const at::Tensor& x) {
                return x.unsqueeze(1).expand({b, columns, heads, g, d}).reshape({-1, heads, g, d});
            };
            kw = at::cat({repeated(kg), kw}, 2);
            vw = at::cat({repeated(vg), vw}, 2);
        }
        if (b > 1)
            mask = mask.unsqueeze(0)
                       .expand({b, columns, mask.size(1), mask.size(2), mask.size(3)})
                       .flatten(0, 1);
        mask = mask.expand({b * columns, mask.size(1), w * w, mask.size(3)});
        const at::Tensor qw = windowsOfRow(queries, row, w, w);
        if (maps) {
            const at::Tensor weights =
                attentionWeights(qw, kw, mask, scale).mean(at::IntArrayRef({1}));
            onGlobals.push_back(weights.slice(2, 0, g).sum(2).view({b * columns, 1, w * w, 1}));
            // Queries of the padding ask for nothing.
            const at::Tensor rowIn = at::arange(row * w, row * w + w).lt(height),
                             columnIn = at::arange(wide).lt(width).view({columns, 1, w});
            const at::Tensor inside = rowIn.view({1, w, 1})
                                          .logical_and(columnIn)
                                          .reshape({1, columns, w * w, 1})
                                          .to(q.options());
            const at::Tensor sums = (weights.slice(2, g).view({b, columns, w * w, n * n}) * inside)
                                        .sum(2)
                                        .view({b, columns, n, n});
            for (int64_t column = 0; column < columns; ++column)
                received.narrow(1, row * w, n)
                    .narrow(2, column * w, n)
                    .add_(sums.select(1, column));
        }
        if (probe && askedRow / w == row) {
            const int64_t column = askedColumn / w, query = askedRow % w * w + askedColumn % w;
            const auto ofWindow = [&](const at::Tensor& t) {
                return t.reshape({b, columns, t.size(1), t.size(2), t.size(3)}).select(1, column);
            };
            const at::Tensor weights =
                attentionWeights(ofWindow(qw).narrow(2, query, 1), ofWindow(kw),
                                 ofWindow(mask).narrow(2, query, 1), scale)
                    .mean(at::IntArrayRef({1}))
                    .slice(2, g)
                    .reshape({b, n, n});
            // Wrapped round where the neighbours are; what lies outside of the map stays outside.
            const auto place = [&](int64_t first, int64_t length, int64_t padded) {
                const at::Tensor at = at::arange(first - halo, first - halo + n);
                const at::Tensor where = o_.maskRule == -1 ? at.remainder(padded) : at;
                return std::pair(where.clamp(0, length - 1),
                                 where.ge(0).logical_and(where.lt(length)).to(q.scalar_type()));
            };
            const auto [rowAt, rowIn] = place(row * w, height, tall);
            const auto [columnAt, columnIn] = place(column * w, width, wide);
            const at::Tensor kept = weights * rowIn.view({1, n, 1}) * columnIn.view({1, 1, n});
            probe->weights = at::zeros({b, height, width}, q.options());
            probe->weights.view({b, -1}).index_add_(
                1, (rowAt.view({n, 1}) * width + columnAt.view({1, n})).flatten(),
                kept.reshape({b, n * n}));
        }
        return WindowRow{qw, kw, vw, mask};
    });
    if (maps) {
        // Wrapped round where the neighbours are.
        const auto folded = [&](const at::Tensor& map, int64_t dim, int64_t padded) {
            if (o_.maskRule != -1) return map.narrow(dim, halo, padded);
            at::Tensor sum = map.narrow(dim, halo, padded).clone();
            sum.index_add_(dim, at::arange(-halo, 0).remainder(padded), map.narrow(dim, 0, halo));
            sum.index_add_(dim, at::arange(padded, padded + halo).remainder(padded),
                           map.narrow(dim, halo + padded, halo));
            return sum;
        };
        maps->local =
            folded(folded(received, 1, tall), 2, wide).slice(1, 0, height).slice(2, 0, width);
        for (auto& row : onGlobals) row = rowOfWindows(row, b, w);
        if (g > 0)
            maps->mass = at::cat(onGlobals, 2)
                             .slice(2, 0, height)
                             .slice(3, 0, width)
                             .reshape({b, height, width});
    }
    for (auto& row : rows) row = rowOfWindows(row, b, w);
    return at::cat(rows, 2)
        .slice(2, 0, height)
        .slice(3, 0, width)
        .reshape({b, heads, height * width, d});
}

at::Tensor VilAttention::sliding(const at::Tensor& x, int64_t height, int64_t width, VilMaps* maps,
                                 AttentionProbe* probe) const {
    const int64_t heads = o_.stage.heads, g = o_.stage.globals;
    const at::Tensor q = splitHeads(query_(x.slice(1, g)), heads);
    const auto kv = kv_(x).chunk(2, -1);
    const at::Tensor y = proj_(mergeHeads(
        local(q, splitHeads(kv[0], heads), splitHeads(kv[1], heads), height, width, maps, probe)));
    if (g == 0) return y;
    const at::Tensor qg = splitHeads(queryGlobal_(x.slice(1, 0, g)), heads);
    const auto kvg = kvGlobal_(x).chunk(2, -1);
    const at::Tensor kg = splitHeads(kvg[0], heads), vg = splitHeads(kvg[1], heads);
    at::Tensor bias;
    if (o_.bias)
        bias = at::cat({g2g_, g2l_[0].unsqueeze(2).expand({heads, g, height * width})}, 2)
                   .unsqueeze(0);
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    if (maps)
        maps->global = attentionWeights(qg, kg, bias, scale)
                           .mean(at::IntArrayRef({1}))
                           .select(1, 0)
                           .slice(1, g)
                           .reshape({x.size(0), height, width});
    return at::cat({projGlobal_(mergeHeads(attend(qg, kg, vg, bias, scale))), y}, 1);
}

Vil::Vil(WeightReader& reader, const VilConfig& config) : config_(config) {
    int64_t channels = 3, side = config.imageSize;
    for (size_t s = 0; s < config.stages.size(); ++s) {
        const auto& c = config.stages[s];
        const std::string layer = "layer" + std::to_string(s + 1) + ".";
        side /= c.patch;
        Stage stage;
        stage.config = c;
        stage.patch =
            Conv::read(reader, layer + "0.proj", {channels, c.dim, c.patch, c.patch, 0, 1});
        if (config.patchNorm)
            stage.norm = LayerNorm::read(reader, layer + "0.norm_embed", c.dim, kNormEps);
        if (c.globals > 0)
            stage.globals = reader.take(layer + "0.cls_token", {1, c.globals, c.dim});
        if (c.absolute) {
            stage.rows = reader.take(layer + "0.x_pos_embed", {1, side, c.dim / 2});
            stage.columns = reader.take(layer + "0.y_pos_embed", {1, side, c.dim / 2});
            stage.globalPosition = reader.take(layer + "0.cls_pos_embed", {1, c.globals, c.dim});
        }
        for (int64_t b = 0; b < c.depth; ++b) {
            const std::string first = layer + std::to_string(2 * b + 1),
                              second = layer + std::to_string(2 * b + 2);
            LayerNorm norm1 = LayerNorm::read(reader, first + ".norm", c.dim, kNormEps);
            VilAttention attention(
                reader, first + ".attn",
                {c, config.maskRule, config.neighbourMode, false, !c.absolute, side, side});
            const LayerNorm norm2 = LayerNorm::read(reader, second + ".norm", c.dim, kNormEps);
            stage.blocks.push_back(
                {std::move(norm1), std::move(attention),
                 ResidualMlp::read(reader, second + ".mlp", norm2, kMlpRatio * c.dim)});
        }
        stages_.push_back(std::move(stage));
        channels = c.dim;
    }
    norm_ = LayerNorm::read(reader, "norm", channels, kNormEps);
    head_ = Linear::read(reader, "head", channels, config.numClasses);
}

/// Smaller images have no place left; others are cut to whole patches in each stage.
int64_t Vil::sizeMultiple() const {
    int64_t stride = 1;
    for (const auto& stage : config_.stages) stride *= stage.patch;
    return stride;
}

std::vector<AttentionMap> Vil::maps() const {
    std::vector<AttentionMap> maps;
    int64_t stride = 1;
    for (size_t s = 0; s < config_.stages.size(); ++s) {
        const auto& stage = config_.stages[s];
        stride *= stage.patch;
        if (stage.depth == 0) continue;
        maps.push_back({s, stride, stage.sliding ? "local" : "all places"});
        if (stage.globals > 0) maps.push_back({s, stride, "global tokens"});
    }
    return maps;
}

std::vector<std::string> Vil::massNames() const {
    const auto& first = config_.stages.front();
    if (!first.sliding || first.globals == 0 || first.depth == 0) return {};
    return {"places around", "global tokens"};
}

at::Tensor Vil::forward(const at::Tensor& image, BackboneTrace* trace) const {
    if (image.dim() != 4 || image.size(2) < sizeMultiple() || image.size(3) < sizeMultiple())
        throw ModelError("Vision Longformer: the input must be [B, 3, H, W] of at least " +
                         std::to_string(sizeMultiple()) + " px a side");
    at::Tensor x = image;
    int64_t height = 0, width = 0;
    size_t mapIndex = 0;
    for (size_t s = 0; s < stages_.size(); ++s) {
        const Stage& stage = stages_[s];
        const std::string name = "stage" + std::to_string(s + 1);
        const int64_t g = stage.config.globals;
        x = stage.patch(x);
        height = x.size(2);
        width = x.size(3);
        x = mapToTokens(x);
        if (config_.patchNorm) x = stage.norm(x);
        if (g > 0) x = at::cat({stage.globals.expand({x.size(0), g, x.size(2)}), x}, 1);
        if (stage.config.absolute) {
            const int64_t half = stage.config.dim / 2;
            const at::Tensor rows = resampled(stage.rows, height)
                                        .view({height, 1, half})
                                        .expand({height, width, half}),
                             columns = resampled(stage.columns, width)
                                           .view({1, width, half})
                                           .expand({height, width, half});
            x = x + at::cat({stage.globalPosition,
                             at::cat({rows, columns}, 2).flatten(0, 1).unsqueeze(0)},
                            1);
        }
        if (trace) trace->keep(name + ".patch_embed", x);
        const size_t stageMaps = stage.blocks.empty() ? 0 : g > 0 ? 2 : 1;
        VilMaps maps;
        for (size_t b = 0; b < stage.blocks.size(); ++b) {
            const Block& block = stage.blocks[b];
            const bool last = b + 1 == stage.blocks.size();
            AttentionProbe* probe = nullptr;  // a place looks at places, whichever map is asked
            for (size_t m = 0; m < stageMaps && last && trace && !probe; ++m)
                probe = trace->probeOf(mapIndex + m);
            x = x + block.attention.forward(block.norm1(x), height, width,
                                            last && trace && trace->attention ? &maps : nullptr,
                                            probe);
            if (trace) trace->keep(name + ".block" + std::to_string(b) + ".attn", x);
            x = block.mlp(x);
            if (trace) trace->keep(name + ".block" + std::to_string(b) + ".mlp", x);
        }
        for (const auto& map : {maps.local, maps.global})
            if (map.defined()) trace->maps.push_back(evenShares(map));
        if (s == 0 && maps.mass.defined()) trace->mass = {1 - maps.mass, maps.mass};
        mapIndex += stageMaps;
        if (s + 1 < stages_.size()) x = tokensToMap(x.slice(1, g), height, width);
    }
    x = norm_(x);
    if (trace) trace->keep("norm", x);
    x = stages_.back().config.globals > 0 && !config_.averagePool ? x.select(1, 0)
                                                                  : x.mean(at::IntArrayRef({1}));
    if (trace) trace->keep("pooled", x);
    x = head_(x);
    if (trace) trace->keep("logits", x);
    return x;
}

}  // namespace atlas::engine
