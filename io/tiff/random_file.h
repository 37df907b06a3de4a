// SPDX-License-Identifier: Apache-2.0
// Reads at any place of a file, from several threads at once; the one place with calls of a
// platform.
#pragma once

#include <cstdint>
#include <string>

namespace atlas::io {

class RandomFile {
  public:
    RandomFile() = default;
    ~RandomFile();
    RandomFile(const RandomFile&) = delete;
    RandomFile& operator=(const RandomFile&) = delete;

    bool open(const std::string& path);
    /// False unless all of it lies in the file and was read.
    bool read(uint64_t offset, void* to, uint64_t count) const;

  private:
    struct Handle;
    Handle* handle_ = nullptr;
    uint64_t size_ = 0;
};

}  // namespace atlas::io
