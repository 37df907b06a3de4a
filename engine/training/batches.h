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

struct Batch {
    std::vector<float> pixels;  ///< [n, 3, side, side], normalised
    std::vector<int64_t> labels;
    std::vector<double> shares;
};

/// What the loader makes of a data set: order, augmentation and normalisation.
struct BatchRequest {
    std::vector<size_t> order;  ///< sample numbers, in order of use
    size_t batch = 1;
    int side = 0;
    uint64_t epoch = 0;
    uint64_t seed = 0;
    const AugmentOptions* augment = nullptr;  ///< nullptr: only resized
    std::vector<float> mean, std;
};

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
    Batch make(size_t first, size_t last) const;

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
