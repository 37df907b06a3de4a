// SPDX-License-Identifier: Apache-2.0
// What a run has done so far, append-only: a killed run goes on from here. Each record carries a
// checksum; a torn last record is dropped.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>

#include "engine/nn/classifier.h"

namespace atlas::engine {

class Journal {
  public:
    using Replay = std::function<void(int64_t context, ContextResult)>;

    /// Replays what `path` holds, then appends to it. Throws std::runtime_error.
    Journal(const std::filesystem::path& path, const Replay& replay);

    /// Throws std::runtime_error where the disk is full.
    void append(int64_t context, const ContextResult& result);

  private:
    std::filesystem::path path_;
    std::ofstream file_;
};

}  // namespace atlas::engine
