// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/window_index.h"

#include <algorithm>
#include <vector>

#include "engine/nn/device_graph.h"
#include "engine/nn/device_stream.h"

namespace atlas::engine {
namespace {

constexpr size_t kMostLayouts = 64;

WindowIndex makeIndex(const WindowGroups& g, const at::Device& device) {
    const int64_t fine = g.fineRows * g.fineRows, coarse = g.coarseRows * g.coarseRows;
    std::vector<int32_t> keyWindow, queryStart{0}, queryWindow;
    std::vector<std::vector<int32_t>> seenBy(static_cast<size_t>(g.batch * coarse));
    for (int64_t b = 0; b < g.batch; ++b)
        for (int64_t i = 0; i < fine; ++i) {
            keyWindow.push_back(static_cast<int32_t>(
                b * coarse + parentWindow(i, g.fineRows, g.coarseRows, g.mapping)));
            seenBy[static_cast<size_t>(keyWindow.back())].push_back(
                static_cast<int32_t>(b * fine + i));
        }
    for (const auto& windows : seenBy) {
        queryWindow.insert(queryWindow.end(), windows.begin(), windows.end());
        queryStart.push_back(static_cast<int32_t>(queryWindow.size()));
    }
    const auto onDevice = [&](std::vector<int32_t>& v) {
        return at::from_blob(v.data(), {static_cast<int64_t>(v.size())}, at::kInt)
            .clone()
            .to(device);
    };
    return {onDevice(keyWindow), onDevice(queryStart), onDevice(queryWindow)};
}

/// An entry may be dropped while kernels of another stream than its own still read it.
void keepUntilUsed(const WindowIndex& index) {
    for (const auto& tensor : {index.keyWindow, index.queryStart, index.queryWindow})
        if (!keepWithRecording(tensor) && tensor.is_cuda())
            tensor.record_stream(currentStream(tensor.device()));
}

}  // namespace

WindowIndex windowIndexOf(const at::Tensor& keyWindow, int64_t keyWindows) {
    const at::Tensor sorted = keyWindow.argsort(/*stable=*/true, 0, /*descending=*/false);
    const at::Tensor counts = keyWindow.bincount({}, keyWindows).cumsum(0);
    return {keyWindow, at::cat({at::zeros({1}, counts.options()), counts}).to(at::kInt),
            sorted.to(at::kInt)};
}

WindowIndex WindowIndexCache::get(const WindowGroups& g, const at::Device& device) {
    const Key key{g.batch, g.fineRows, g.coarseRows, static_cast<int>(g.mapping), device.str()};
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (found != entries_.end())
        entries_.splice(entries_.begin(), entries_, found);
    else
        entries_.emplace_front(key, makeIndex(g, device));
    if (entries_.size() > most_) entries_.pop_back();
    keepUntilUsed(entries_.front().second);
    return entries_.front().second;
}

size_t WindowIndexCache::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

WindowIndexCache& WindowIndexCache::shared() {
    static auto& cache = *new WindowIndexCache(kMostLayouts);
    return cache;
}

}  // namespace atlas::engine
