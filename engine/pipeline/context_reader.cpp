// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/context_reader.h"

#include <cmath>

#include "engine/pipeline/model_input.h"
#include "io/value_source.h"

namespace atlas::engine {
namespace {

constexpr size_t kPixelStep = 61;  // one in so many pixels is looked at

}  // namespace

ContextPixels readContext(const io::ColorSource& image, const ModelConfig& model,
                          const ContextBox& box, int64_t side) {
    const int pixels = static_cast<int>(side);
    ContextPixels context{image.resample(box.x, box.y, box.width, box.height, pixels, pixels).rgba};
    const auto bands = storedBands(image.info(), model, image.settings());
    if (bands.empty()) return context;
    auto block = io::resampleValues(*image.source(), bands, box.x, box.y, box.width, box.height,
                                    pixels, pixels, model.inputValues == InputValues::Physical);
    context.values = std::move(block.values);
    for (size_t i = 0; i < block.valid.size(); ++i)
        context.rgba[4 * i + 3] = block.valid[i] ? 255 : 0;
    return context;
}

void DataShare::add(const io::ImageInfo& info, const ContextBox& box, const ContextPixels& pixels) {
    const size_t count = pixels.rgba.size() / 4;
    const auto side = static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(count))));
    const auto inside = [&](size_t at, double start, double length, int64_t limit) {
        const double place =
            start + (static_cast<double>(at) + 0.5) * length / static_cast<double>(side);
        return place >= 0 && place < static_cast<double>(limit);
    };
    for (size_t i = 0; i < count; i += kPixelStep) {
        if (!inside(i % side, box.x, box.width, info.levels[0].width) ||
            !inside(i / side, box.y, box.height, info.levels[0].height))
            continue;
        ++seen_;
        empty_ += pixels.rgba[4 * i + 3] == 0;
    }
}

double DataShare::without() const {
    return seen_ ? static_cast<double>(empty_) / static_cast<double>(seen_) : 0;
}

}  // namespace atlas::engine
