// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/atlas_stem.h"

namespace atlas::engine {
namespace {
constexpr double kEntryEps = 1e-4;  // BatchNorm of conv0
constexpr double kUnitEps = 1e-5;   // BatchNorm of the residual units
constexpr double kDownEps = 1e-6;   // LayerNorm before each downsampling
}  // namespace

AtlasStem::AtlasStem(WeightReader& reader, const std::string& prefix, const AtlasConfig& config) {
    const int64_t c = config.stemWidth;
    layers_.first = ConvNorm::read(reader, prefix + "conv0.0", prefix + "conv0.1",
                                   config.inChannels, config.stemFirstWidth, 2, false, kEntryEps);
    layers_.second = ConvNorm::read(reader, prefix + "conv0.3", prefix + "conv0.4",
                                    config.stemFirstWidth, c, 2, false, kEntryEps);
    layers_.units1 = readUnits(reader, prefix + "conv1", c);
    layers_.down1 = {LayerNorm::read(reader, prefix + "ds1.norm", c, kDownEps),
                     ConvNorm::read(reader, prefix + "ds1.conv", "", c, 2 * c, 2, false, 0)};
    layers_.units2 = readUnits(reader, prefix + "conv2", 2 * c);
    layers_.down2 = {
        LayerNorm::read(reader, prefix + "ds2.norm", 2 * c, kDownEps),
        ConvNorm::read(reader, prefix + "ds2.conv", "", 2 * c, config.dim, 2, false, 0)};
}

AtlasStem::Units AtlasStem::readUnits(WeightReader& reader, const std::string& name,
                                      int64_t width) {
    Units units;
    for (size_t i = 0; i < units.size(); ++i) {
        const std::string unit = name + "." + std::to_string(i) + ".conv_block";
        units[i].first =
            ConvNorm::read(reader, unit + "1.0", unit + "1.1", width, width, 1, true, kUnitEps);
        units[i].second =
            ConvNorm::read(reader, unit + "2.0", unit + "2.1", width, width, 1, true, kUnitEps);
    }
    return units;
}

void AtlasStem::fold() {
    layers_.first.fold();
    layers_.second.fold();
    for (auto* units : {&layers_.units1, &layers_.units2})
        for (auto& unit : *units) {
            unit.first.fold();
            unit.second.fold();
        }
}

at::Tensor AtlasStem::runUnits(const Units& units, at::Tensor x, const ForwardMode& mode) {
    for (const auto& unit : units) x = x + unit.second(at::gelu(unit.first(x, mode)), mode);
    return x;
}

at::Tensor AtlasStem::downsample(const Downsample& layer, const at::Tensor& x,
                                 const ForwardMode& mode) {
    const at::Tensor normed = layer.norm(x.permute({0, 2, 3, 1})).permute({0, 3, 1, 2});
    return layer.conv(normed, mode);
}

at::Tensor AtlasStem::forward(const at::Tensor& image, const ForwardMode& mode,
                              Trace* trace) const {
    const auto keep = [&](const char* name, const at::Tensor& x) {
        if (trace) (*trace)[name] = x;
        return x;
    };
    at::Tensor x = image.contiguous(at::MemoryFormat::ChannelsLast);
    x = at::relu(layers_.first(x, mode));
    x = keep("stem.conv0", at::relu(layers_.second(x, mode)));
    x = keep("stem.conv1", runUnits(layers_.units1, x, mode));
    x = keep("stem.ds1", downsample(layers_.down1, x, mode));
    x = keep("stem.conv2", runUnits(layers_.units2, x, mode));
    x = keep("stem.ds2", downsample(layers_.down2, x, mode));
    return keep("stem.out", x);
}

}  // namespace atlas::engine
