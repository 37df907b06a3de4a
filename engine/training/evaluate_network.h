// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "engine/nn/classifier.h"
#include "engine/nn/tensor.h"
#include "engine/training/batches.h"
#include "engine/training/trainer.h"

namespace atlas::engine {

/// The pixels of a batch, [n, 3, side, side]; the batch must outlive it.
inline at::Tensor asTensor(Batch& batch) {
    return at::from_blob(batch.pixels.data(),
                         {static_cast<int64_t>(batch.labels.size()), 3, batch.side, batch.side},
                         at::kFloat);
}

/// The middle of an image as a context; no data where the image is smaller.
ContextPixels middleOf(const io::RasterBlock& image, int64_t side);

/// Logits [n, classes] of images [n, 3, side, side].
using LogitsOf = std::function<at::Tensor(const at::Tensor& images)>;

/// Classifies every sample of `data`, `side` px large; `labelMap` turns its labels into the
/// model's. `memoryBytes`: as for evaluateModel().
Evaluation evaluateNetwork(const LogitsOf& network, const ModelConfig& model, const Dataset& data,
                           int64_t side, const std::vector<int>& labelMap,
                           const std::stop_token& stop, int64_t memoryBytes = 0);

}  // namespace atlas::engine
