// SPDX-License-Identifier: Apache-2.0
// Checks that this installation works: readers, models, device, and one context classified.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/doctor.h"

namespace atlas::app {

int runSelftest(const SelftestArguments& arguments) {
    int failures = 0;
    nlohmann::json report = nlohmann::json::object();
    for (const auto& [name, detail, good] : selfTest()) {
        failures += !good;
        report[name] = {{"ok", good}, {"detail", detail}};
        if (!arguments.json)
            std::printf("%-16s %s  %s\n", name.c_str(), good ? "ok    " : "FAILED", detail.c_str());
    }
    for (const auto& [name, detail, good] : facts()) report["facts"][name] = detail;
    if (arguments.json) std::cout << report.dump(1) << std::endl;
    return failures ? 1 : 0;
}

}  // namespace atlas::app
