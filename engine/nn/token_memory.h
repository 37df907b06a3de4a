// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {

/// Room for many tokens: in memory, or in a mapped file whose pages are given back as soon as they
/// are done with, so that only what is being worked on counts as resident.
class TokenMemory {
  public:
    TokenMemory() = default;
    static TokenMemory inRam(int64_t floats);
    /// Opens or makes the file; what it held stays. Throws std::runtime_error with path and cause.
    static TokenMemory inFile(const std::filesystem::path& path, int64_t floats);
    TokenMemory(TokenMemory&& other) noexcept { *this = std::move(other); }
    TokenMemory& operator=(TokenMemory&& other) noexcept;
    ~TokenMemory();

    float* data() { return mapped_ ? mapped_ : ram_.data(); }
    int64_t floats() const { return floats_; }
    bool isFile() const { return mapped_ != nullptr; }
    /// The floats [from, to) are not needed for now.
    void release(int64_t from, int64_t to);
    /// Everything written so far is in the file.
    void sync();

  private:
    AlignedFloats ram_;
    float* mapped_ = nullptr;
    int64_t floats_ = 0;
};

}  // namespace atlas::engine
