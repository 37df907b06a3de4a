// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/answers_only.h"

#include <cmath>

#include "engine/nn/model_error.h"

namespace atlas::engine {

ContextAnalysis AnswersOnly::analyse(const ContextPixels& context,
                                     const AnalysisRequest& asked) const {
    if (asked.probe || asked.flow || asked.scaleOff >= 0 || !asked.tokenMask.empty())
        throw ModelError(config().name + ": " + whyNotInside() + "; blur a region instead");
    ContextAnalysis analysis;
    analysis.probabilities = classify({context}, false).at(0).probabilities;
    for (float p : analysis.probabilities) analysis.logits.push_back(std::log(p));
    return analysis;
}

WholeResult AnswersOnly::classifyWhole(const WholeImage&, const WholeOptions&,
                                       const WholeProgress&) const {
    throw ModelError(config().name + ": only Atlas takes a whole image as one context");
}

}  // namespace atlas::engine
