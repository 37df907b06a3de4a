// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/answers_only.h"

#include <algorithm>
#include <cmath>

#include "engine/nn/model_error.h"

namespace atlas::engine {

ContextAnalysis AnswersOnly::analyse(const ContextPixels& context,
                                     const AnalysisRequest& asked) const {
    if (asked.probe || asked.flow || asked.scaleOff >= 0 || !asked.tokenMask.empty())
        throw ModelError(config().name + ": " + whyNotInside() + "; blur a region instead");
    ContextAnalysis analysis;
    analysis.probabilities = classify({context}, false).at(0).probabilities;
    const auto& all = analysis.probabilities;
    if (asked.gradient != GradientMap::None && !all.empty()) {
        const auto best = static_cast<int>(std::max_element(all.begin(), all.end()) - all.begin());
        analysis.gradientClass = asked.gradientClass < 0 ? best : asked.gradientClass;
        if (analysis.gradientClass >= static_cast<int>(all.size()))
            throw ModelError(config().name + ": there is no class " +
                             std::to_string(analysis.gradientClass));
        analysis.gradient = gradientOf(context, asked.gradient, analysis.gradientClass);
    }
    for (float p : analysis.probabilities) analysis.logits.push_back(std::log(p));
    return analysis;
}

ScaleMap AnswersOnly::gradientOf(const ContextPixels&, GradientMap, int) const {
    throw ModelError(config().name +
                     ": this network gives answers alone, no gradients; ask for occlusion");
}

WholeResult AnswersOnly::classifyWhole(const WholeImage&, const WholeOptions&,
                                       const WholeProgress&) const {
    throw ModelError(config().name + ": only Atlas takes a whole image as one context");
}

}  // namespace atlas::engine
