// SPDX-License-Identifier: Apache-2.0
// How many contexts a network is given at once, and in which precision it computes. This is decided
// when a run begins and follows from the request, the model and the machine, never from how much
// memory is free or how busy the processor is, so that a run that goes on does what it did before.
#pragma once

#include <cstdint>
#include <string>

#include "engine/nn/classifier.h"
#include "engine/pipeline/run_request.h"

namespace atlas::engine {

/// To be recorded when a run begins and used again when it goes on.
struct BatchPlan {
    int contexts = 1;       ///< of one group of the plan, given to the network at once
    std::string precision;  ///< that the network computes in: "fp32" or "bf16"
    std::string why;        ///< one line that says how the number of contexts was chosen
};

/// What the number of contexts is chosen by.
struct BatchFacts {
    int asked = 0;            ///< contexts at once that the user asked for; 0: none in particular
    double flops = 0;         ///< of one context; 0 where the network's inside is not known
    int64_t sidePx = 0;       ///< of a context
    int64_t weightBytes = 0;  ///< size of the file of weights
    int64_t memoryBytes = 0;  ///< that the program may take; 0: no limit
    int threads = 1;          ///< of the network
    bool onProcessor = true;  ///< of which the threads are; else a device computes
};

/// The number of contexts and the reason; `precision` is left empty.
BatchPlan chooseBatch(const BatchFacts& facts);

/// The plan of a run of this request with this model.
BatchPlan planBatches(const RunRequest& request, const Classifier& classifier);

}  // namespace atlas::engine
