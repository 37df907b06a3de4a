// SPDX-License-Identifier: Apache-2.0
// The stem by LibTorch's operations on a device, tile by tile with exact halos (spec 10). Rows of
// pixels wait in the host's memory until every tile that sees them has been sent, so that each is
// asked for once.
#pragma once

#include "engine/nn/atlas_stem.h"
#include "engine/nn/stem_runner.h"

namespace atlas::engine {

class DeviceStem : public StemRunner {
  public:
    /// `stem` must be folded; it runs where its weights lie.
    DeviceStem(const AtlasStem& stem, const AtlasConfig& config);

    void run(const StemImage& image, const StemOptions& options) const override;
    double flopsPerPixel() const override;
    int64_t weightBytes() const override { return 0; }

  private:
    class Band;
    int64_t tileTokens(int64_t tileBytes) const;

    AtlasStem stem_;
    AtlasConfig config_;
    at::Device device_;
};

}  // namespace atlas::engine
