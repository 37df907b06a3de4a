// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "engine/kernels/msa.h"

namespace atlas::engine {

void msaForwardHost(const AtlasMsaProblem& problem) {
    if (const char* cause = msaCheck(problem))
        throw std::invalid_argument(std::string("segmented attention: ") + cause);
    const int64_t rows = problem.queryWindows * problem.heads * problem.queriesPerWindow;
    for (int64_t row = 0; row < rows; ++row) msaForwardRow(problem, row);
}

}  // namespace atlas::engine
