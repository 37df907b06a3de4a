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
    ~Stitcher();

    /// Throws std::runtime_error where the answer's maps have not the shape that the model says.
    void add(const Context& context, const ContextResult& result);

    /// Everything added so far; never changes once it is given out, and is the same object as long
    /// as nothing is added. Copies only what was added since the last call while add() has to wait,
    /// so that any thread may ask often.
    std::shared_ptr<const RunLayers> snapshot() const;

    /// Forgets everything for a second pass in the order of the plan. Meanwhile, and until thaw(),
    /// snapshot() gives what it gave last.
    void startAgain();
    void thaw();

    /// Whether the sums depend on the order in which contexts are added.
    bool dependsOnOrder() const { return plan_.isBlended(); }

  private:
    struct Accumulator;
    struct Cell;
    struct Patch;
    std::vector<Cell> cellsOf(const Accumulator& into, const Context& context, bool rows) const;
    void addMaps(Accumulator& into, const Context& context,
                 const std::vector<const ScaleMap*>& bands);
    void addSegments(const Context& context, const std::vector<ScaleMap>& classes);
    void check(const ContextResult& result) const;
    std::vector<Accumulator*> accumulators() const;

    const RunPlan plan_;
    bool attention_;
    size_t maps_ = 0, shares_ = 0;  ///< that an answer has
    mutable std::mutex mutex_;      ///< of the sums
    std::unique_ptr<Accumulator> probabilities_, mass_;
    std::vector<std::unique_ptr<Accumulator>> received_;
    bool frozen_ = false;
    mutable std::mutex snapshotMutex_;  ///< one snapshot is made at a time; taken before mutex_
    mutable std::shared_ptr<const RunLayers> last_;
};

}  // namespace atlas::engine
