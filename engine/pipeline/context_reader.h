// SPDX-License-Identifier: Apache-2.0
// From an image to what a model is given of one of its contexts.
#pragma once

#include <cstdint>

#include "engine/nn/classifier.h"
#include "io/color_source.h"

namespace atlas::engine {

/// A context's place in level-0 pixels; it may reach beyond the image.
struct ContextBox {
    double x = 0, y = 0, width = 0, height = 0;
};

/// The box as `side` x `side` pixels. Throws io::ReadError.
ContextPixels readContext(const io::ColorSource& image, const ModelConfig& model,
                          const ContextBox& box, int64_t side);

/// Counts the pixels without data of the contexts that were read. What lies outside of the image
/// counts neither way: the image has lost nothing there.
class DataShare {
  public:
    void add(const io::ImageInfo& info, const ContextBox& box, const ContextPixels& pixels);
    /// Share of 0 to 1 of the pixels inside of the image that hold no data.
    double without() const;

  private:
    int64_t seen_ = 0, empty_ = 0;
};

}  // namespace atlas::engine
