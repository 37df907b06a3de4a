// SPDX-License-Identifier: Apache-2.0
#include "io/synthetic/synthetic_source.h"

#include <algorithm>
#include <regex>

#include "io/synthetic/scene.h"

namespace atlas::io {
namespace {

class SyntheticSource : public ImageSource {
  public:
    SyntheticSource(const std::string& spec, int64_t size, uint64_t seed) : scene_(seed) {
        info_.path = spec;
        info_.reader = info_.format = "synthetic";
        double down = 1;
        for (int64_t side = size; info_.levels.empty() || side > 256;
             side = (side + 1) / 2, down *= 2)
            info_.levels.push_back({side, side, down, 256, 256});
        info_.bands = {{"red", BandRole::Red, {}},
                       {"green", BandRole::Green, {}},
                       {"blue", BandRole::Blue, {}}};
        const double um = SyntheticScene::kMetresPerPixel * 1e6;
        info_.resolution = Resolution{um, um, true, "synthetic scene"};
        info_.properties["seed"] = std::to_string(seed);
    }

    const ImageInfo& info() const override { return info_; }

    RasterBlock readRegion(int level, const Rect& rect,
                           const std::vector<int>& bands) const override {
        checkRequest(level, rect, bands);
        const auto& size = info_.levels[static_cast<size_t>(level)];
        RasterBlock block(static_cast<int>(rect.width), static_cast<int>(rect.height),
                          static_cast<int>(bands.size()), false);
        const Rect inside = intersect(rect, {0, 0, size.width, size.height});
        if (inside.empty()) return block;
        std::vector<uint8_t> rgb(static_cast<size_t>(inside.width * inside.height * 3));
        scene_.render(static_cast<double>(inside.x) * size.downsample,
                      static_cast<double>(inside.y) * size.downsample, size.downsample,
                      static_cast<int>(inside.width), static_cast<int>(inside.height), rgb.data());
        for (int64_t y = 0; y < inside.height; ++y)
            for (int64_t x = 0; x < inside.width; ++x) {
                const auto to = static_cast<size_t>((inside.y - rect.y + y) * rect.width +
                                                    inside.x - rect.x + x);
                const auto from = static_cast<size_t>(y * inside.width + x);
                block.valid[to] = 1;
                for (size_t b = 0; b < bands.size(); ++b)
                    block.u8[to * bands.size() + b] = rgb[from * 3 + static_cast<size_t>(bands[b])];
            }
        return block;
    }

  private:
    SyntheticScene scene_;
    ImageInfo info_;
};

}  // namespace

SourcePtr openSynthetic(const std::string& spec) {
    static const std::regex pattern("synthetic:size=(\\d{1,7}),seed=(\\d{1,9})");
    std::smatch parts;
    if (!std::regex_match(spec, parts, pattern))
        throw ReadError(spec + ": expected synthetic:size=N,seed=S");
    const int64_t size = std::stoll(parts[1]);
    if (size < 16 || size > 1'000'000)
        throw ReadError(spec + ": the size must lie between 16 and 1000000");
    return std::make_shared<SyntheticSource>(spec, size, std::stoull(parts[2]));
}

}  // namespace atlas::io
