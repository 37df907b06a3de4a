// SPDX-License-Identifier: Apache-2.0
// Which class opens which kind of model.
#include "engine/nn/classifier.h"

#include <ATen/Parallel.h>

#include "engine/nn/atlas_classifier.h"
#include "engine/nn/backbone_classifier.h"
#include "engine/nn/onnx_classifier.h"
#include "engine/nn/onnx_file.h"
#include "engine/nn/torchscript_classifier.h"

namespace atlas::engine {

void setThreads(int threads) {
    if (threads > 0) at::set_num_threads(threads);
}

std::unique_ptr<Classifier> Classifier::open(const std::filesystem::path& modelDir,
                                             const ClassifierOptions& options) {
    const ModelConfig config = loadModelConfig(modelDir);
    if (config.architecture == kTorchScript) return openTorchScript(modelDir, config, options);
    if (config.architecture == kOnnx) return openOnnx(findOnnx(modelDir), config, options);
    if (!config.isAtlas()) return openBackbone(modelDir, config, options);
    return openAtlas(modelDir, options);
}

}  // namespace atlas::engine
