// SPDX-License-Identifier: Apache-2.0
// The part of a classifier that networks share which can be asked for answers, and of whose inside
// nothing is known: one context at a time is classified again, and the rest is refused by name.
#pragma once

#include "engine/nn/classifier.h"

namespace atlas::engine {

class AnswersOnly : public Classifier {
  public:
    ContextAnalysis analyse(const ContextPixels& context,
                            const AnalysisRequest& asked) const override;
    WholeResult classifyWhole(const WholeImage&, const WholeOptions&,
                              const WholeProgress&) const override;

  protected:
    /// A map from gradients of one usable context. Throws ModelError where there is none of the
    /// kind.
    virtual ScaleMap gradientOf(const ContextPixels& context, GradientMap kind, int label) const;

    /// Why a probe, a flow, or a run without a scale or tokens is refused.
    virtual std::string whyNotInside() const {
        return "an exported model shows nothing of its attention";
    }
};

}  // namespace atlas::engine
