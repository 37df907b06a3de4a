// SPDX-License-Identifier: Apache-2.0
// Puts the results of contexts together: probabilities and attention maps as rasters. Contexts
// that overlap are blended, weighted towards their centres. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_plan.h"
#include "io/export/raster_file.h"

namespace atlas::engine {

/// The layers of a run, as the window and the exporters see them.
struct RunLayers {
    io::GridRaster classes;                 ///< 1 band: number of the best class
    io::GridRaster probabilities;           ///< a band a class
    std::vector<io::GridRaster> attention;  ///< received, a raster a scale, finest first
    io::GridRaster mass;                    ///< a band a scale, over the finest tokens
    /// Of whole-image runs: what each token gives to each class's logit (spec 12), a band a class,
    /// a raster for each scale that the head reads, and the class that each place speaks for most.
    std::vector<io::GridRaster> contributions;
    std::vector<int> contributionScales;
    io::GridRaster evidence;
    bool hasAttention() const { return !attention.empty(); }
    /// Of networks whose softmax spans several kinds of keys.
    bool hasMass() const { return mass.width > 0; }
};

class Stitcher {
  public:
    /// Throws ReadError where a raster would be too large to hold.
    Stitcher(const RunPlan& plan, const ModelConfig& model, bool attention);

    void add(const Context& context, const ContextResult& result);

    /// A copy of everything added so far.
    RunLayers layers() const;

  private:
    /// Sums and weights of one raster; a plain store where contexts do not overlap.
    struct Accumulator {
        io::GridRaster sum;
        std::vector<float> weight;
        explicit Accumulator(io::GridRaster raster);
        void add(int column, int row, float w, const float* values, int64_t stride);
        io::GridRaster mean() const;
    };
    void addMaps(Accumulator& into, const Context& context,
                 const std::vector<const ScaleMap*>& bands);
    void addSegments(const Context& context, const std::vector<ScaleMap>& classes);

    const RunPlan plan_;
    bool attention_;
    mutable std::mutex mutex_;
    std::unique_ptr<Accumulator> probabilities_, mass_;
    std::vector<Accumulator> received_;
};

}  // namespace atlas::engine
