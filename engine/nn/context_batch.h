// SPDX-License-Identifier: Apache-2.0
// From the pixels of contexts to the input of a network.
#pragma once

#include <array>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/nn/tensor.h"

namespace atlas::engine {

inline constexpr int64_t kTokenPx = 16;

/// Does the context hold a pixel with data?
bool anyValid(const ContextPixels& context);

/// Normalises RGBA pixels with the model's mean and deviation. Pixels without data are the mean
/// colour, 0 after it. `indices` say which of `contexts` take part.
class ContextBatch {
  public:
    /// Contexts are squares of `side` pixels; the calls below throw ModelError for any other size.
    ContextBatch(int64_t side, const std::vector<float>& mean, const std::vector<float>& std,
                 at::Device device);

    /// float32 [n, 3, side, side] on the processor.
    at::Tensor images(const std::vector<ContextPixels>& contexts,
                      const std::vector<size_t>& indices) const;
    /// The same on the device, channels last: bytes go there (from pinned memory where that helps),
    /// the rest is done there. kBuffers buffers take turns, so that a batch can be packed while the
    /// one before is on its way; the result of kBuffers calls ago must have been waited for.
    at::Tensor imagesOnDevice(const std::vector<ContextPixels>& contexts,
                              const std::vector<size_t>& indices) const;
    static constexpr size_t kBuffers = 2;

    /// bool-like bytes [n, h, w]: tokens that hold a pixel with data.
    at::Tensor masks(const std::vector<ContextPixels>& contexts,
                     const std::vector<size_t>& indices) const;

    /// One row of `columns` RGBA pixels to interleaved float32.
    void normaliseRow(const uint8_t* rgba, int64_t columns, float* out) const;

  private:
    const ContextPixels& checked(const ContextPixels& context) const;

    int64_t side_;
    std::array<float, 3> scale_, shift_;
    at::Device device_;
    at::Tensor scaleOnDevice_, shiftOnDevice_;
    mutable std::array<at::Tensor, kBuffers> buffers_;
    mutable size_t next_ = 0;
};

}  // namespace atlas::engine
