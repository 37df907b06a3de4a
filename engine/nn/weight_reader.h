// SPDX-License-Identifier: Apache-2.0
// Takes named weights out of a state dict while the network is built, and afterwards says
// everything that did not match at once: missing, extra and wrongly shaped names.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/nn/tensor.h"

namespace atlas::engine {

class WeightReader {
  public:
    /// `weights` must outlive the reader.
    explicit WeightReader(const StateDict& weights) : weights_(weights) {}

    /// The tensor of that name and shape; an empty one of that shape if it does not match.
    at::Tensor take(const std::string& name, std::vector<int64_t> shape);

    bool has(const std::string& name) const { return weights_.contains(name); }
    /// Names and shapes taken so far.
    const std::vector<std::pair<std::string, std::vector<int64_t>>>& asked() const {
        return asked_;
    }

    /// As take(); a weight that the forward pass never uses and that may be absent.
    void ignore(const std::string& name) { used_.insert(name); }

    /// Whether take() gave this for a weight that is not there: nothing needs to be made of it.
    static bool isAbsent(const at::Tensor& weight);

    /// Throws ModelError listing every mismatch; `what` opens the sentence.
    void finish(const std::string& what) const;

  private:
    const StateDict& weights_;
    std::set<std::string> used_;
    std::vector<std::string> missing_;
    std::vector<std::pair<std::string, std::vector<int64_t>>> asked_;
    std::vector<std::string> misshaped_;
};

}  // namespace atlas::engine
