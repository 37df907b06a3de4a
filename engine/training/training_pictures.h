// SPDX-License-Identifier: Apache-2.0
// What the pictures of a data set look like, for the warnings of later runs.
#pragma once

#include <stop_token>

#include "engine/nn/picture_statistics.h"
#include "engine/training/dataset.h"

namespace atlas::engine {

/// Measures contexts of `side` pixels as the network gets them, without augmentation: all of a
/// small data set, else as many, evenly spread, as have about 128 million pixels. The same data
/// give the same numbers. Nothing where they have too few squares for a distribution, or when
/// stopped.
std::optional<PictureReference> measurePictures(const Dataset& data, int64_t side,
                                                const std::stop_token& stop = {});

}  // namespace atlas::engine
