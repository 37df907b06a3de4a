// SPDX-License-Identifier: Apache-2.0
#include "engine/training/batches.h"

#include <algorithm>

namespace atlas::engine {
namespace {
constexpr size_t kBatchesAhead = 3;
}

BatchLoader::BatchLoader(const Dataset& data, BatchRequest request)
    : data_(data),
      request_(std::move(request)),
      worker_([this](const std::stop_token& stop) { work(stop); }) {}

BatchLoader::~BatchLoader() {
    worker_.request_stop();
    changed_.notify_all();
}

void BatchLoader::work(const std::stop_token& stop) {
    try {
        const size_t count = request_.order.size();
        for (size_t first = 0; first < count && !stop.stop_requested(); first += request_.batch) {
            Batch batch = make(first, std::min(first + request_.batch, count));
            std::unique_lock lock(mutex_);
            changed_.wait(lock, stop, [this] { return ready_.size() < kBatchesAhead; });
            ready_.push_back(std::move(batch));
            changed_.notify_all();
        }
    } catch (...) {
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
}

Batch BatchLoader::make(size_t first, size_t last) const {
    Batch batch;
    const auto side = static_cast<size_t>(request_.side);
    batch.pixels.resize((last - first) * 3 * side * side);
    for (size_t i = first; i < last; ++i) {
        const size_t index = request_.order[i];
        const Sample sample = data_.sample(index, request_.epoch);
        std::seed_seq sequence{request_.seed, request_.epoch, static_cast<uint64_t>(index)};
        std::mt19937_64 random(sequence);
        const io::RasterBlock view =
            request_.augment ? augment(sample.image, request_.side, *request_.augment, random)
                             : resizeTo(sample.image, request_.side);
        normalise(view, request_.mean, request_.std,
                  batch.pixels.data() + (i - first) * 3 * side * side);
        batch.labels.push_back(sample.label);
        batch.shares.push_back(sample.share);
    }
    return batch;
}

bool BatchLoader::next(Batch& batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || finished_; });
    if (failure_) std::rethrow_exception(failure_);
    if (ready_.empty()) return false;
    batch = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return true;
}

}  // namespace atlas::engine
