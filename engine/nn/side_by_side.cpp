// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/side_by_side.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "engine/nn/tensor.h"

namespace atlas::engine {

std::vector<int64_t> sideBySideGroups(int64_t items, int64_t threads, int64_t most) {
    if (items <= 0) return {};
    if (threads > 1 && 2 * items <= threads) return {items};
    std::vector<int64_t> sizes;
    for (int64_t left = items; left > 0; left -= sizes.back()) {
        const int64_t even = threads > 1 ? left / (2 * threads) : left;
        sizes.push_back(std::clamp<int64_t>(even, 1, std::min(most, left)));
    }
    return sizes;
}

void sideBySide(int64_t items, int64_t most, const std::function<void(int64_t, int64_t)>& work) {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    const auto sizes = sideBySideGroups(items, threads, most);
    std::vector<int64_t> ends;
    for (const int64_t size : sizes) ends.push_back((ends.empty() ? 0 : ends.back()) + size);
    std::atomic<size_t> next{0};
    const auto takeGroups = [&] {
        const at::NoGradGuard noGradient;
        try {
            for (size_t i = next++; i < ends.size(); i = next++) work(ends[i] - sizes[i], ends[i]);
        } catch (...) {
            next = ends.size();
            throw;
        }
    };
    if (threads == 1 || sizes.size() < 2) return takeGroups();
    at::parallel_for(0, threads, 1, [&](int64_t, int64_t) { takeGroups(); });
}

bool isSideBySide() {
    return at::in_parallel_region();
}

}  // namespace atlas::engine
