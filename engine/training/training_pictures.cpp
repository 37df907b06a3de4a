// SPDX-License-Identifier: Apache-2.0
#include "engine/training/training_pictures.h"

#include <algorithm>

#include "engine/training/augment.h"

namespace atlas::engine {
namespace {

constexpr double kMostPixels = 128e6;
constexpr int kSquaresOfContext = 16;  // at most; neighbours tell little more

}  // namespace

std::optional<PictureReference> measurePictures(const Dataset& data, int64_t side,
                                                const std::stop_token& stop) {
    const auto pixels = static_cast<double>(side) * static_cast<double>(side);
    const size_t count =
        std::min(data.size(), static_cast<size_t>(std::max(1.0, kMostPixels / pixels)));
    const int squarePx = static_cast<int>(std::min<int64_t>(kPictureSquarePx, side));
    std::vector<PictureFeatures> squares;
    ChannelHistogram channels;
    for (size_t i = 0; i < count; ++i) {
        if (stop.stop_requested()) return std::nullopt;
        const Sample sample = data.sample(i * data.size() / count, 0, side);
        const io::RasterBlock image = resizeTo(sample.image, static_cast<int>(side));
        const PictureView view{image.u8.data(), image.width, image.height, image.bands};
        channels.add(view);
        for (const auto& square : pictureSquares(view, squarePx, kSquaresOfContext))
            squares.push_back(square);
    }
    if (squares.size() < PictureReference::kLeastSquares) return std::nullopt;
    return PictureReference(squares, channels, squarePx, data.fingerprint());
}

}  // namespace atlas::engine
