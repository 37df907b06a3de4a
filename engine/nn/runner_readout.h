// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "engine/nn/block_runner.h"

namespace atlas::engine {

struct ReadoutLayers {
    LayerNorm norm, fcNorm;
    Linear fc;
};

/// Readout and head (spec 6), and what each token gives to each logit (spec 12), window by window.
struct Readout {
    const ReadoutLayers& layers;
    int64_t dim = 0, stride = 0;
    int64_t first = 0;  ///< number of the finest scale that is left
    const std::vector<RunningScale>& scales;
    std::function<void(size_t scale, int64_t slot)> doneWith;  ///< a window was read; may be empty

    /// [images, classes]; `trace` receives pooled.mean and logits.
    at::Tensor logits(int64_t images, Trace& trace);
    /// contributions.scaleS and baseline into `trace`. Comes after logits().
    void contributions(Trace& trace) const;

    void eachWindow(size_t scale,
                    const std::function<void(int64_t slot, const at::Tensor& normed)>& work) const;
    at::Tensor mean, count;  ///< of the tokens read; logits() fills them
};

}  // namespace atlas::engine
