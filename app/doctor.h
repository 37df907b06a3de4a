// SPDX-License-Identifier: Apache-2.0
// What this installation is and whether it works: for `selftest` and the window's Doctor page.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace atlas::app {

struct Finding {
    std::string name, detail;
    bool good = true;
};

/// Device and why, versions, readers and codecs, memory, models. Opens no model; quick.
std::vector<Finding> facts();

/// Readers, models, and one context classified. Takes seconds.
std::vector<Finding> selfTest();

}  // namespace atlas::app
