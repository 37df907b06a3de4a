// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// How far a run is.
struct CheckpointPosition {
    int64_t stage = -1;  ///< -1: within the stem; else the next block to run is ...
    int64_t block = 0;   ///< ... this one of that stage
    int64_t rows = 0;    ///< token rows that the stem has delivered
    int64_t file = 0;    ///< which scratch file holds the tokens
};

/// Floats that a checkpoint holds, wherever they lie: `count` items of `each` (an even number).
struct CheckpointArray {
    int64_t count = 0, each = 0;
    std::function<void(int64_t from, int64_t to, float* out)> get;  ///< items
    std::function<void(int64_t from, int64_t to, const float* in)> set;
};

/// The state of a run in one file of its scratch folder, replaced as a whole. A file of another
/// run, of another version or a damaged one is as if there were none.
class RunnerCheckpoint {
  public:
    using Arrays = std::vector<CheckpointArray>;

    RunnerCheckpoint(std::filesystem::path folder, std::string key);

    bool open();  ///< reads the position
    const CheckpointPosition& position() const { return position_; }
    /// Was the block done when the checkpoint was opened?
    bool isBefore(int64_t stage, int64_t block) const;
    /// Fills the arrays that write() had; false, and nothing is promised of them, if it cannot.
    bool read(const Arrays& arrays, Trace& trace);
    /// Throws std::runtime_error with path and cause.
    void write(const CheckpointPosition& position, const Arrays& arrays, const Trace& trace);
    /// The run is complete: its scratch files go.
    void remove();

  private:
    std::filesystem::path folder_;
    std::string key_;
    CheckpointPosition position_;
    bool opened_ = false;
};

}  // namespace atlas::engine
