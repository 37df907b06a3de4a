// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/context_batch.h"

#include <cstring>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

at::Tensor onDevice(const std::array<float, 3>& values, at::Device device) {
    std::array<float, 3> copy = values;
    return at::from_blob(copy.data(), {3}, at::kFloat).clone().to(device);
}

}  // namespace

bool anyValid(const ContextPixels& context) {
    for (size_t i = 3; i < context.rgba.size(); i += 4)
        if (context.rgba[i]) return true;
    return false;
}

ContextBatch::ContextBatch(int64_t side, const std::vector<float>& mean,
                           const std::vector<float>& std, at::Device device)
    : side_(side), device_(device) {
    for (size_t c = 0; c < 3; ++c) {
        scale_[c] = 1 / (255 * std[c]);
        shift_[c] = -mean[c] / std[c];
    }
    scaleOnDevice_ = onDevice(scale_, device);
    shiftOnDevice_ = onDevice(shift_, device);
}

const ContextPixels& ContextBatch::checked(const ContextPixels& context) const {
    if (context.rgba.size() != static_cast<size_t>(4 * side_ * side_))
        throw ModelError("a context has the wrong size");
    return context;
}

at::Tensor ContextBatch::images(const std::vector<ContextPixels>& contexts,
                                const std::vector<size_t>& indices) const {
    const auto pixels = static_cast<size_t>(side_ * side_);
    at::Tensor images =
        at::empty({static_cast<int64_t>(indices.size()), 3, side_, side_}, at::kFloat);
    float* out = images.data_ptr<float>();
    for (size_t n : indices) {
        const auto& rgba = checked(contexts[n]).rgba;
        for (size_t c = 0; c < 3; ++c, out += pixels)
            for (size_t i = 0; i < pixels; ++i)
                out[i] = rgba[4 * i + 3]
                             ? static_cast<float>(rgba[4 * i + c]) * scale_[c] + shift_[c]
                             : 0;
    }
    return images;
}

at::Tensor ContextBatch::imagesOnDevice(const std::vector<ContextPixels>& contexts,
                                        const std::vector<size_t>& indices) const {
    const auto count = static_cast<int64_t>(indices.size());
    at::Tensor& buffer = buffers_[next_];
    next_ = (next_ + 1) % kBuffers;
    if (!buffer.defined() || buffer.size(0) < count)
        buffer = at::empty({count, side_, side_, 4},
                           at::TensorOptions().dtype(at::kByte).pinned_memory(device_.is_cuda()));
    auto* to = buffer.data_ptr<uint8_t>();
    for (size_t n : indices) {
        const auto& rgba = checked(contexts[n]).rgba;
        std::memcpy(to, rgba.data(), rgba.size());
        to += rgba.size();
    }
    const at::Tensor rgba =
        buffer.slice(0, 0, count).to(device_, at::kByte, /*non_blocking=*/true, /*copy=*/true);
    const at::Tensor colours = rgba.slice(3, 0, 3).to(at::kFloat) * scaleOnDevice_ + shiftOnDevice_;
    return colours.masked_fill(rgba.slice(3, 3, 4) == 0, 0).permute({0, 3, 1, 2});
}

at::Tensor ContextBatch::masks(const std::vector<ContextPixels>& contexts,
                               const std::vector<size_t>& indices) const {
    const int64_t tokens = (side_ + kTokenPx - 1) / kTokenPx;
    at::Tensor mask = at::zeros({static_cast<int64_t>(indices.size()), tokens, tokens}, at::kByte);
    auto* out = mask.data_ptr<uint8_t>();
    for (size_t n : indices) {
        const auto& rgba = checked(contexts[n]).rgba;
        for (int64_t y = 0; y < side_; ++y)
            for (int64_t x = 0; x < side_; ++x)
                if (rgba[static_cast<size_t>(4 * (y * side_ + x) + 3)])
                    out[y / kTokenPx * tokens + x / kTokenPx] = 1;
        out += tokens * tokens;
    }
    return mask;
}

void ContextBatch::normaliseRow(const uint8_t* rgba, int64_t columns, float* out) const {
    for (size_t c = 0; c < 3; ++c)
        for (int64_t x = 0; x < columns; ++x)
            out[3 * x + static_cast<int64_t>(c)] =
                rgba[4 * x + 3]
                    ? static_cast<float>(rgba[4 * x + static_cast<int64_t>(c)]) * scale_[c] +
                          shift_[c]
                    : 0;
}

}  // namespace atlas::engine
