// SPDX-License-Identifier: Apache-2.0
// What a run has answered so far, append-only: a killed run goes on from here. Each record carries
// a checksum; what follows a torn or damaged record is left out. Every writer appends to a file of
// its own, `journal-<token>`, and reads those of the writers before it.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/nn/classifier.h"

namespace atlas::engine {

class Journal {
  public:
    using Replay = std::function<void(int64_t context, const ContextResult&)>;

    /// Replays all journals in `folder`, then appends to `journal-<token>`. A context may be
    /// replayed more than once. Throws std::runtime_error with path and cause.
    Journal(const std::filesystem::path& folder, const std::string& token, const Replay& replay);

    /// Throws std::runtime_error where the disk is full.
    void append(int64_t context, const ContextResult& result);

    /// What was appended or replayed last for this context. Throws std::runtime_error where it is
    /// not there any more.
    ContextResult read(int64_t context) const;

    /// Deletes the journals in `folder`; none may be open.
    static void remove(const std::filesystem::path& folder);

  private:
    struct Place {
        size_t file;
        uint64_t at;  ///< of the record's header, bytes from the start
    };
    void replayFile(size_t file, const Replay& replay);

    std::vector<std::filesystem::path> paths_;  ///< the last one is this writer's
    std::map<int64_t, Place> places_;
    mutable std::map<size_t, std::ifstream> readers_;
    std::ofstream file_;
    uint64_t end_ = 0;
};

}  // namespace atlas::engine
