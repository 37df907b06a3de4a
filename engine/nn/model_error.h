// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace atlas::engine {

/// A model folder, weight file or network that cannot be used; the text names file and cause.
class ModelError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace atlas::engine
