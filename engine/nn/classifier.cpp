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

int threadsInUse() {
    return at::get_num_threads();
}

std::unique_ptr<Classifier> Classifier::open(const std::filesystem::path& modelDir,
                                             const ClassifierOptions& options) {
    const ModelConfig config = loadModelConfig(modelDir);
    if (config.isAtlas()) return openAtlas(modelDir, options);
    auto classifier = config.architecture == kTorchScript
                          ? openTorchScript(modelDir, config, options)
                      : config.architecture == kOnnx ? openOnnx(findOnnx(modelDir), config, options)
                                                     : openBackbone(modelDir, config, options);
    if (options.precision == "bf16")
        classifier->warnings_.push_back(
            "--precision bf16 changes nothing here: only Atlas networks can compute in bfloat16, "
            "and this model computed in float32");
    return classifier;
}

}  // namespace atlas::engine
