// SPDX-License-Identifier: Apache-2.0
#include "engine/training/largest_batch.h"

#include <algorithm>

#include "engine/nn/machine.h"

namespace atlas::engine {

LargestBatch largestBatch(int64_t bytes, int64_t most,
                          const std::function<void(int64_t images)>& work) {
    work(1);  // what is kept for good is made now, and counts as being there
    forgetPeakMemory();
    // Images and bytes of the try before the best one; 0 images: the process at rest.
    int64_t lessImages = 0, lessBytes = processMemory("VmRSS");
    if (lessBytes == 0) return {most, 0, 0, 0};
    LargestBatch best;
    for (int64_t images = 1;; images = std::min(2 * images, most)) {
        if (best.images > 0) {
            // A further image takes what the last ones took.
            const int64_t each =
                std::max<int64_t>(0, best.bytes - lessBytes) / (best.images - lessImages);
            const int64_t foreseen = best.bytes + each * (images - best.images);
            if (foreseen > bytes) {
                best.tooMany = images;
                best.tooManyBytes = foreseen;
                return best;
            }
            lessImages = best.images;
            lessBytes = best.bytes;
        }
        forgetPeakMemory();
        work(images);
        const int64_t seen = processMemory("VmHWM");
        if (seen > bytes) {
            best.tooMany = images;
            best.tooManyBytes = seen;
            return best;
        }
        best.images = images;
        best.bytes = seen;
        if (images >= most) return best;
    }
}

}  // namespace atlas::engine
