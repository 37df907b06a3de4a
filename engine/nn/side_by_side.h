// SPDX-License-Identifier: Apache-2.0
// Images that are computed side by side, each by one thread. No thread waits for another one
// between two layers, which costs little on a quiet machine and most of the time on a busy one.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace atlas::engine {

/// The sizes of the groups, in order, into which `items` images are divided for `threads` threads:
/// at most `most` images each, and smaller ones towards the end, so that all threads finish at
/// about the same time. Images that would leave half of the threads without work are one group,
/// which all threads share. The groups follow from the arguments alone, never from timing. Empty
/// where there are no images.
std::vector<int64_t> sideBySideGroups(int64_t items, int64_t threads, int64_t most);

/// Calls work(first, last) for each group [first, last) of `items` images and returns when all are
/// done. Several groups run at the same time, each on one thread of LibTorch whose operations use
/// no other thread; a single group runs on the calling thread and its operations use all of them.
/// Gradients are off. Throws what a group threw; groups that had not begun are then left out.
void sideBySide(int64_t items, int64_t most,
                const std::function<void(int64_t first, int64_t last)>& work);

/// Whether the caller is in a group of sideBySide() beside which others run.
bool isSideBySide();

}  // namespace atlas::engine
