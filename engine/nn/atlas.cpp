// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas.h"

#include <cmath>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr double kNormEps = 1e-5;

std::string stagePrefix(size_t k) {
    return "atlas_models." + std::to_string(k) + ".";
}

/// Number of valid tokens of each image, [B, 1] in the maps' type; undefined without masks.
at::Tensor countValid(const std::vector<at::Tensor>& valid, at::ScalarType type) {
    at::Tensor total;
    for (const auto& mask : valid) {
        const at::Tensor count = mask.sum({1, 2}).to(type).unsqueeze(1);
        total = total.defined() ? total + count : count;
    }
    return total;
}

at::Tensor zeroInvalid(const at::Tensor& map, const at::Tensor& valid) {
    return valid.defined() ? map.masked_fill(valid.logical_not().unsqueeze(-1), 0) : map;
}

}  // namespace

TokenMaps buildTokenMaps(const at::Tensor& tokens, const AtlasConfig& config,
                         const at::Tensor& tokenMask) {
    const int64_t b = tokens.size(0), h = tokens.size(2), w = tokens.size(3);
    const int64_t side = legalSide(std::max(h, w), config.windowSide, config.poolRatio);
    at::Tensor map = tokens.permute({0, 2, 3, 1});
    at::Tensor valid;
    if (tokenMask.defined()) {
        if (tokenMask.sizes() != at::IntArrayRef({b, h, w}))
            throw ModelError("token mask: its shape is not that of the tokens");
        valid = tokenMask.to(at::kBool);  // asked before it goes to a device: no waiting there
        if (!valid.flatten(1).any(1).all().item<bool>())
            throw ModelError("an image of the batch has no valid token");
        valid = valid.all().item<bool>() ? at::Tensor() : valid.to(tokens.device());
    }
    if (h != side || w != side) {
        if (!valid.defined()) valid = at::ones({b, h, w}, tokens.options().dtype(at::kBool));
        map = at::constant_pad_nd(map, {0, 0, 0, side - w, 0, side - h});
        valid = at::constant_pad_nd(valid, {0, side - w, 0, side - h});
    }
    TokenMaps result;
    result.scales.geometry =
        listScales(side, config.windowSide, config.poolRatio, config.maxScales);
    result.maps.push_back(zeroInvalid(map, valid));
    result.scales.valid.push_back(valid);
    for (size_t s = 1; s < result.scales.geometry.size(); ++s) {
        const at::Tensor finer = result.scales.valid.back();
        result.maps.push_back(poolTokens(result.maps.back(), config.poolRatio, finer));
        at::Tensor mask;
        if (finer.defined())
            mask = poolTokens(finer.unsqueeze(-1).to(at::kFloat), config.poolRatio, {})
                       .squeeze(-1)
                       .to(at::kBool);
        result.scales.valid.push_back(mask);
    }
    return result;
}

AtlasStage::AtlasStage(WeightReader& reader, const std::string& prefix, const AtlasConfig& config,
                       const AtlasStageConfig& stage) {
    for (int64_t d = 0; d < stage.depth; ++d)
        blocks_.emplace_back(reader, prefix + "levels.0.blocks." + std::to_string(d) + ".", config,
                             stage, d);
}

void AtlasStage::forward(TokenMaps& tokens, const ForwardMode& mode, const TraceRequest& request,
                         Trace* trace, double dropPathMax, int64_t stage) const {
    for (size_t d = 0; d < blocks_.size(); ++d) {
        const bool last = d + 1 == blocks_.size();
        ForwardMode blockMode = mode;
        if (blocks_.size() > 1)
            blockMode.dropPath =
                dropPathMax * static_cast<double>(d) / static_cast<double>(blocks_.size() - 1);
        TraceRequest asked = request;
        if (asked.probe && !asked.probe->wants(stage, static_cast<int64_t>(d),
                                               static_cast<int64_t>(blocks_.size())))
            asked.probe.reset();
        if (!last) asked.attention = asked.intermediate = false;
        const bool traced = last || asked.probe;
        blocks_[d].forward(tokens.maps, tokens.scales, blockMode, asked, traced ? trace : nullptr);
    }
}

Atlas::Atlas(const AtlasConfig& config, const StateDict& weights)
    : config_(config), reader_(weights), stem_(reader_, "atlas_models.0.patch_embed.", config) {
    if (config.stages.empty()) throw ModelError("Atlas: the configuration has no stages");
    for (size_t k = 0; k < config.stages.size(); ++k) {
        stages_.emplace_back(reader_, stagePrefix(k), config, config.stages[k]);
        for (const char* unused :
             {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
              "norm.num_batches_tracked", "head.weight", "head.bias"})
            reader_.ignore(stagePrefix(k) + unused);
    }
    readoutNorm_ = LayerNorm::read(reader_, "readout_norm", config.dim);
    fcNorm_ = LayerNorm::read(reader_, "fc_norm", config.dim);
    fc_ = Linear::read(reader_, "fc", config.dim, config.numClasses);
    reader_.finish("Atlas");
}

at::Tensor Atlas::forward(const at::Tensor& image, const at::Tensor& tokenMask,
                          const TraceRequest& request, Trace* trace,
                          const ForwardMode& mode) const {
    const at::Tensor input = image.dim() == 5 ? image.squeeze(2) : image;
    if (input.dim() != 4 || input.size(1) != config_.inChannels)
        throw ModelError("Atlas: the input must be [B, " + std::to_string(config_.inChannels) +
                         ", H, W]");
    const bool everything = trace && request.intermediate;
    Trace* const stemTrace = everything ? trace : nullptr;
    const at::Tensor tokens = stem_.forward(input, mode, stemTrace);
    TokenMaps state = buildTokenMaps(tokens, config_, tokenMask);
    if (everything)
        for (size_t s = 0; s < state.maps.size(); ++s)
            (*trace)["built.scale" + std::to_string(s)] =
                toWindows(state.maps[s], state.scales.geometry[s].window);
    for (size_t k = 0; k < stages_.size(); ++k) {
        Trace inner;
        stages_[k].forward(state, mode, request, trace ? &inner : nullptr, mode.dropPath,
                           static_cast<int64_t>(k));
        const std::string name = "stage" + std::to_string(k) + ".";
        for (const auto& [key, value] : inner)
            if (!key.starts_with("block.")) (*trace)[name + key] = value;
        if (everything)
            for (size_t s = 0; s < state.maps.size(); ++s)
                (*trace)[name + "scale" +
                         std::to_string(state.scales.first + static_cast<int64_t>(s))] =
                    toWindows(state.maps[s], state.scales.geometry[s].window);
        if (k + 1 < stages_.size() && state.maps.size() > 1) {
            state.maps.erase(state.maps.begin());
            state.scales.geometry.erase(state.scales.geometry.begin());
            state.scales.valid.erase(state.scales.valid.begin());
            ++state.scales.first;
        }
    }
    return readOut(state, request, trace);
}

at::Tensor Atlas::readOut(const TokenMaps& tokens, const TraceRequest& request,
                          Trace* trace) const {
    const bool masked = tokens.scales.valid[0].defined();
    std::vector<at::Tensor> normed;
    at::Tensor sum;
    int64_t plainCount = 0;
    for (size_t s = 0; s < tokens.maps.size(); ++s) {
        normed.push_back(readoutNorm_(tokens.maps[s]));
        const at::Tensor part = zeroInvalid(normed[s], tokens.scales.valid[s]).sum({1, 2});
        sum = sum.defined() ? sum + part : part;
        plainCount += tokens.scales.geometry[s].side * tokens.scales.geometry[s].side;
    }
    const at::Tensor count = masked
                                 ? countValid(tokens.scales.valid, sum.scalar_type())
                                 : at::full({1, 1}, static_cast<double>(plainCount), sum.options());
    const at::Tensor mean = sum / count;
    const at::Tensor features = fcNorm_(mean);
    const at::Tensor logits = fc_(features);
    if (!trace) return logits;
    (*trace)["pooled.mean"] = mean;
    (*trace)["pooled.features"] = features;
    (*trace)["logits"] = logits;
    if (!request.contributions && !request.intermediate) return logits;
    const at::Tensor sigma =
        (mean.var({1}, /*unbiased=*/false, /*keepdim=*/true) + kNormEps).sqrt().view({-1, 1, 1, 1});
    for (size_t s = 0; s < normed.size(); ++s) {
        const at::Tensor centred =
            (normed[s] - normed[s].mean(at::IntArrayRef({-1}), true)) * fcNorm_.weight / sigma;
        const at::Tensor share = at::linear(centred, fc_.weight) / count.view({-1, 1, 1, 1});
        (*trace)["contributions.scale" +
                 std::to_string(tokens.scales.first + static_cast<int64_t>(s))] =
            zeroInvalid(share, tokens.scales.valid[s]);
    }
    (*trace)["baseline"] = fc_(fcNorm_.bias);
    return logits;
}

}  // namespace atlas::engine
