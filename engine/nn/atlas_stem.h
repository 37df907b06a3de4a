// SPDX-License-Identifier: Apache-2.0
// The convolutional stem of Atlas: 16 pixels a token. Spec section 3.
#pragma once

#include <array>

#include "engine/nn/atlas_config.h"
#include "engine/nn/layers.h"

namespace atlas::engine {

class AtlasStem {
  public:
    /// Reads `<prefix>conv0.0.weight` and the rest.
    AtlasStem(WeightReader& reader, const std::string& prefix, const AtlasConfig& config);

    /// Folds every BatchNorm into its convolution.
    void fold();

    /// [B, inChannels, H, W] normalised pixels -> [B, dim, ceil(H/16), ceil(W/16)].
    /// `trace`, where given, receives stem.conv0, conv1, ds1, conv2, ds2 and out.
    at::Tensor forward(const at::Tensor& image, const ForwardMode& mode, Trace* trace) const;

    struct ResidualUnit {
        ConvNorm first, second;
    };
    struct Downsample {
        LayerNorm norm;
        ConvNorm conv;
    };
    using Units = std::array<ResidualUnit, 3>;
    struct Layers {
        ConvNorm first, second;
        Units units1;
        Downsample down1;
        Units units2;
        Downsample down2;
    };
    /// For runners that compute the same in another way.
    const Layers& layers() const { return layers_; }

  private:
    static Units readUnits(WeightReader& reader, const std::string& name, int64_t width);
    static at::Tensor runUnits(const Units& units, at::Tensor x, const ForwardMode& mode);
    static at::Tensor downsample(const Downsample& layer, const at::Tensor& x,
                                 const ForwardMode& mode);

    Layers layers_;
};

}  // namespace atlas::engine
