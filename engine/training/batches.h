// SPDX-License-Identifier: Apache-2.0
// Prepares batches in a thread of its own, a few ahead of the one that is used.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/training/augment.h"
#include "engine/training/dataset.h"

namespace atlas::engine {

inline constexpr size_t kBatchesAhead = 3;  // ready, besides the one that is used

struct Batch {
    std::vector<float> pixels;  ///< [n, 3, side, side], normalised
    std::vector<int64_t> labels;
    std::vector<double> shares;
    int64_t side = 0;
};

/// What the loader makes of a data set: order, augmentation and normalisation.
struct BatchRequest {
    std::vector<size_t> order;  ///< sample numbers, in order of use
    size_t batch = 1;
    int side = 0;
    /// Other sides that batches have, one of `side` and these each, drawn by seed and epoch. A
    /// batch has about as many pixels whatever its side.
    std::vector<int64_t> otherSides;
    uint64_t epoch = 0;
    uint64_t seed = 0;
    const AugmentOptions* augment = nullptr;  ///< nullptr: only resized
    std::vector<float> mean, std;
};

/// Samples [first, last) of the order, all of one side.
struct BatchPlan {
    size_t first = 0, last = 0;
    int64_t side = 0;
};
std::vector<BatchPlan> planBatches(const BatchRequest& request);

class BatchLoader {
  public:
    BatchLoader(const Dataset& data, BatchRequest request);
    ~BatchLoader();
    BatchLoader(const BatchLoader&) = delete;
    BatchLoader& operator=(const BatchLoader&) = delete;

    /// The next batch; false at the end. Throws what reading threw.
    bool next(Batch& batch);

  private:
    void work(const std::stop_token& stop);
    Batch make(const BatchPlan& plan) const;

    const Dataset& data_;
    BatchRequest request_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<Batch> ready_;
    std::exception_ptr failure_;
    bool finished_ = false;
    std::jthread worker_;
};

}  // namespace atlas::engine
