// SPDX-License-Identifier: Apache-2.0
#include "engine/training/batches.h"

#include <algorithm>

namespace atlas::engine {

std::vector<BatchPlan> planBatches(const BatchRequest& request) {
    std::vector<int64_t> sides{request.side};
    sides.insert(sides.end(), request.otherSides.begin(), request.otherSides.end());
    std::seed_seq sequence{request.seed, request.epoch, uint64_t{0x51DE}};
    std::mt19937_64 random(sequence);
    std::vector<BatchPlan> plans;
    for (size_t first = 0; first < request.order.size();) {
        const int64_t side = sides.size() > 1 ? sides[random() % sides.size()] : request.side;
        const double pixels =
            static_cast<double>(request.side * request.side) / static_cast<double>(side * side);
        const auto count =
            static_cast<size_t>(std::clamp(static_cast<double>(request.batch) * pixels, 1.0,
                                           4.0 * static_cast<double>(request.batch)));
        const size_t last = std::min(first + count, request.order.size());
        plans.push_back({first, last, side});
        first = last;
    }
    return plans;
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
        for (const BatchPlan& plan : planBatches(request_)) {
            if (stop.stop_requested()) break;
            Batch batch = make(plan);
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

Batch BatchLoader::make(const BatchPlan& plan) const {
    Batch batch;
    batch.side = plan.side;
    const auto side = static_cast<size_t>(plan.side);
    const int pixels = static_cast<int>(plan.side);
    batch.pixels.resize((plan.last - plan.first) * 3 * side * side);
    for (size_t i = plan.first; i < plan.last; ++i) {
        const size_t index = request_.order[i];
        const Sample sample = data_.sample(index, request_.epoch, plan.side);
        std::seed_seq sequence{request_.seed, request_.epoch, static_cast<uint64_t>(index)};
        std::mt19937_64 random(sequence);
        const io::RasterBlock view = request_.augment
                                         ? augment(sample.image, pixels, *request_.augment, random)
                                         : resizeTo(sample.image, pixels);
        normalise(view, request_.mean, request_.std,
                  batch.pixels.data() + (i - plan.first) * 3 * side * side);
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
