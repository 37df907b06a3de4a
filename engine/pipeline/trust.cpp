// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/trust.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/nn/onnx_file.h"
#include "engine/nn/torchscript_classifier.h"
#include "engine/pipeline/run_folder.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json known(const fs::path& trustFile) {
    std::ifstream file(trustFile);
    const json list = json::parse(file, nullptr, /*allow_exceptions=*/false);
    return list.is_object() ? list : json::object();  // unreadable: nothing is trusted
}

}  // namespace

std::optional<CodeModel> codeOf(const fs::path& modelDir) {
    if (loadModelConfig(modelDir).architecture != kTorchScript) return {};
    const fs::path file = modelDir / kTorchScriptFile;
    return CodeModel{file, fileSha256(file)};
}

bool isTrusted(const CodeModel& code, const fs::path& trustFile) {
    return !trustFile.empty() && known(trustFile).contains(code.sha256);
}

bool trust(const CodeModel& code, const fs::path& trustFile) {
    if (isTrusted(code, trustFile)) return false;
    json list = known(trustFile);
    list[code.sha256] = fs::absolute(code.file).string();
    if (trustFile.has_parent_path()) fs::create_directories(trustFile.parent_path());
    const fs::path temporary = trustFile.string() + ".tmp";
    std::ofstream file(temporary);
    file << list.dump(2) << '\n';
    file.close();
    if (!file) throw std::runtime_error(temporary.string() + ": cannot be written");
    fs::rename(temporary, trustFile);
    return true;
}

ClassifierOptions classifierOptions(const RunRequest& request) {
    ClassifierOptions options;
    options.device = request.device;
    options.precision = request.precision;
    options.threads = request.threads;
    options.cache = request.cache;
    options.refuseCode = [trustFile = request.trustFile](std::string_view code) -> std::string {
        const std::string sha256 = sha256Of(code);
        if (isTrusted({{}, sha256}, trustFile)) return {};
        return "this is TorchScript: code that runs with your rights (SHA-256 " + sha256 +
               "). If you trust it, say --trust-model once, or answer the window's question";
    };
    return options;
}

fs::path weightsFile(const fs::path& modelDir) {
    if (const auto onnx = findOnnx(modelDir); !onnx.empty()) return onnx;
    return modelDir / (loadModelConfig(modelDir).architecture == kTorchScript
                           ? kTorchScriptFile
                           : "model.safetensors");
}

}  // namespace atlas::engine
