// SPDX-License-Identifier: Apache-2.0
// The networks beside Atlas that classify one image: Vision Longformer, HaloNet, ScalableViT. For
// inference; each is a file of its own, built from backbone_layers.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// An attention map that a network gives. A stage may have two, of different attentions.
struct AttentionMap {
    size_t stage = 0;
    int64_t sidePx = 0;  ///< of its places
    std::string what;    ///< "local", "global tokens"; empty where the stage has one kind
};

/// What one place attends to. `u` and `v`: where it lies, 0 to 1 from the left and the top. The
/// last attention of that kind in the stage answers: [B, h, w], mean over heads; what goes to
/// tokens or padding outside of the map is missing from its sum.
struct AttentionProbe {
    double u = 0.5, v = 0.5;
    at::Tensor weights;
    /// The place's index along a side of `length` places.
    static int64_t index(double share, int64_t length) {
        return std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(length)), 0,
                                   length - 1);
    }
};

/// What a forward pass keeps.
struct BackboneTrace {
    bool intermediate = false;  ///< under the golden files' names
    bool attention = false;     ///< maps and shares
    Trace values;
    /// Attention received by each place, mean over heads: [B, h, w] for each of Backbone::maps(),
    /// in multiples of an even share.
    std::vector<at::Tensor> maps;
    /// On what the places of the first map spend their attention: [B, h, w] for each of
    /// Backbone::massNames(); they sum to 1.
    std::vector<at::Tensor> mass;
    int64_t probedMap = -1;  ///< of Backbone::maps(), for `probe`; -1: none
    AttentionProbe probe;

    AttentionProbe* probeOf(size_t map) {
        return static_cast<int64_t>(map) == probedMap ? &probe : nullptr;
    }
    void keep(const std::string& name, const at::Tensor& value) {
        if (intermediate) values[name] = value;
    }
};

class Backbone {
  public:
    virtual ~Backbone() = default;

    /// image: [B, 3, H, W], normalised; returns logits [B, classes]. Throws ModelError, naming the
    /// sizes that work, for others.
    virtual at::Tensor forward(const at::Tensor& image, BackboneTrace* trace = nullptr) const = 0;

    /// Height and width must be multiples of this.
    virtual int64_t sizeMultiple() const = 0;
    /// The attention maps that a forward pass can give, by stage.
    virtual std::vector<AttentionMap> maps() const = 0;
    /// What shares the attention of the first map's places; empty: one kind of key alone.
    virtual std::vector<std::string> massNames() const { return {}; }

    /// `architecture`: vil, halonet or scalablevit; `config`: as the golden files have it, or
    /// {"variant": "halonet50ts", "num_classes": 1000}. Throws ModelError with everything that does
    /// not fit.
    static std::unique_ptr<Backbone> make(const std::string& architecture,
                                          const nlohmann::json& config, const StateDict& weights);
    /// What is known of a network without its weights.
    struct Description {
        int64_t sizeMultiple = 1;
        std::vector<AttentionMap> maps;
        std::vector<std::string> massNames;
    };
    static Description describe(const std::string& architecture, const nlohmann::json& config);
    static bool knows(const std::string& architecture);
    /// Names and shapes of its weights, statistics of norms among them.
    static std::vector<std::pair<std::string, std::vector<int64_t>>> weightsOf(
        const std::string& architecture, const nlohmann::json& config);
    /// Parameters that such a network has.
    static int64_t countParameters(const std::string& architecture, const nlohmann::json& config);
    /// Names for {"variant": ...}.
    static std::vector<std::string> variants(const std::string& architecture);
};

/// Without the prefixes "net.", "module." and "model." that checkpoints put before every name.
StateDict withoutPrefixes(const StateDict& weights);

}  // namespace atlas::engine
