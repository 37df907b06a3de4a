// SPDX-License-Identifier: Apache-2.0
// Labelled contexts to train on and to evaluate with. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/image_source.h"

namespace atlas::engine {

struct Sample {
    io::RasterBlock image;  ///< uint8 RGB
    int label = 0;
    double share = 1;  ///< of the label's class in the image's area
};

class Dataset {
  public:
    virtual ~Dataset() = default;
    virtual size_t size() const = 0;
    virtual const std::vector<std::string>& classNames() const = 0;
    /// `epoch` lets endless sources give new samples each time; others ignore it.
    /// A synthetic context is rendered `side` px large; 0: as opened. Files are as they are.
    virtual Sample sample(size_t index, uint64_t epoch, int64_t side = 0) const = 0;
    virtual std::string fingerprint() const = 0;
    /// Classes that differ in arrangement alone; empty where that is not known.
    virtual std::vector<bool> arrangementOnly() const { return {}; }
};

/// `spec` is a folder, a zip file, or `synthetic:FIRST-LAST,samples=N[,natural]`: N contexts of
/// `side` px drawn from scenes with seeds FIRST to LAST. With `natural` they lie on the grid that a
/// run uses, drawn evenly. Without, places are off that grid by up to 32 px, every class is drawn
/// alike, and each context has at least 60 % of its class.
/// Throws ReadError.
std::unique_ptr<Dataset> openDataset(const std::string& spec, int64_t side);

}  // namespace atlas::engine
