// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

namespace atlas::app {

/// Set by the first Ctrl+C or SIGTERM; a second one ends the program at once. Call from main
/// before threads start.
std::stop_token interruptToken();

}  // namespace atlas::app
