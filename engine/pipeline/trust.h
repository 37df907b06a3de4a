// SPDX-License-Identifier: Apache-2.0
// Which exported models the user trusts. TorchScript is code: the first use of a file is asked
// for, shows its hash, and is remembered by that hash.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_request.h"

namespace atlas::engine {

struct CodeModel {
    std::filesystem::path file;
    std::string sha256;
};

/// The code that a model folder would run; nothing where its weights are plain numbers.
std::optional<CodeModel> codeOf(const std::filesystem::path& modelDir);

bool isTrusted(const CodeModel& code, const std::filesystem::path& trustFile);
/// Remembers the hash (write, then rename). Returns whether it was not trusted before. Throws
/// std::runtime_error with path and cause.
bool trust(const CodeModel& code, const std::filesystem::path& trustFile);

/// Device, precision and threads of a request; code runs where `request.trustFile` knows the hash
/// of the very bytes that are about to run.
ClassifierOptions classifierOptions(const RunRequest& request);

/// The file of a model folder that its answers depend on most.
std::filesystem::path weightsFile(const std::filesystem::path& modelDir);

}  // namespace atlas::engine
