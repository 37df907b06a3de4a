// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "engine/nn/block_engine.h"
#include "engine/nn/layers.h"

namespace atlas::engine {

/// Where the tokens are computed on.
struct ReadoutLayers {
    LayerNorm norm, fcNorm;
    Linear fc;
};

/// Readout and head (spec 6), and what each token gives to each logit (spec 12), some windows at a
/// time.
class Readout {
  public:
    /// `first`: number of the finest scale that is left.
    Readout(const ReadoutLayers& layers, const BlockEngine& blocks,
            const std::vector<TokenScale>& layouts, int64_t first)
        : layers_(layers), blocks_(blocks), layouts_(layouts), first_(first) {}

    /// Called for windows that were read; may be empty.
    std::function<void(size_t scale, int64_t from, int64_t to)> doneWith;

    /// [images, classes]; `trace` receives pooled.mean and logits.
    at::Tensor logits(int64_t images, Trace& trace);
    /// contributions.scaleS and baseline into `trace`. Comes after logits().
    void contributions(Trace& trace) const;

  private:
    /// Windows [from, to) of one image; `normed`: [to - from, tokens, dim].
    using Work = std::function<void(int64_t from, int64_t to, const at::Tensor& normed)>;
    void eachRun(size_t scale, const Work& work) const;
    const TokenScale& layout(size_t scale) const {
        return layouts_[static_cast<size_t>(first_) + scale];
    }
    size_t scales() const { return layouts_.size() - static_cast<size_t>(first_); }

    const ReadoutLayers& layers_;
    const BlockEngine& blocks_;
    const std::vector<TokenScale>& layouts_;
    int64_t first_;
    at::Tensor mean_, count_;  // of the tokens read, on the processor
};

}  // namespace atlas::engine
