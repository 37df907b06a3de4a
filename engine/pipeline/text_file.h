// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <locale>
#include <stdexcept>

namespace atlas::engine {

/// A text file under a temporary name until it is complete.
class TextFile {
  public:
    explicit TextFile(std::filesystem::path path)
        : path_(std::move(path)), temporary_(path_.string() + ".tmp"), out(temporary_) {
        out.imbue(std::locale::classic());  // decimal points in every locale
    }
    void finish() {
        out.close();
        if (!out)
            throw std::runtime_error(path_.string() + ": cannot be written (is the disk full?)");
        std::filesystem::rename(temporary_, path_);
    }

  private:
    std::filesystem::path path_, temporary_;

  public:
    std::ofstream out;
};

}  // namespace atlas::engine
