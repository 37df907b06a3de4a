// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/nn/tensor.h"

namespace atlas::engine {

/// BatchNorm statistics: kept in the state dict, not trained.
inline bool isBuffer(const std::string& name) {
    return name.ends_with(".running_mean") || name.ends_with(".running_var");
}

/// AdamW over one state dict; weight decay on matrices and kernels alone.
class Optimiser {
  public:
    explicit Optimiser(const StateDict& weights);

    /// Uses and clears the gradients. Throws ModelError where they are not finite.
    void step(double learningRate, double weightDecay, double clipNorm);

    void save(StateDict& state) const;
    void load(const StateDict& state);

  private:
    struct Group {
        std::vector<std::string> names;
        std::vector<at::Tensor> parameters, first, second, steps;
    };
    double clipScale(double clipNorm) const;

    Group decayed_, plain_;
};

}  // namespace atlas::engine
