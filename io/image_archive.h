// SPDX-License-Identifier: Apache-2.0
// Labelled small images for training: a folder or zip with one folder a class, CLASS/NAME.jpg.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::io {

struct LabelledFile {
    std::string name;  ///< CLASS/NAME.jpg
    int label = 0;     ///< index into ImageArchive::classNames
};

/// Reading decode() is thread-safe. Throws ReadError with path, entry and cause.
class ImageArchive {
  public:
    explicit ImageArchive(const std::filesystem::path& path);

    const std::vector<std::string>& classNames() const { return classNames_; }
    const std::vector<LabelledFile>& files() const { return files_; }

    /// Pixels as uint8 RGB, [height, width, 3] interleaved.
    RasterBlock decode(size_t index) const;

    /// Hex digest over names and contents: the same images give the same fingerprint.
    std::string fingerprint() const;

  private:
    void listFolder();
    void listZip();
    void assignLabels();
    const std::vector<uint8_t>& bytes(size_t index) const { return contents_[index]; }

    std::filesystem::path path_;
    std::vector<std::string> classNames_;
    std::vector<LabelledFile> files_;
    std::vector<std::vector<uint8_t>> contents_;  ///< compressed, as in the file
};

/// JPEG, PNG, TIFF ... in memory to RGB; throws ReadError naming `what`.
RasterBlock decodeImage(const std::vector<uint8_t>& bytes, const std::string& what);

}  // namespace atlas::io
