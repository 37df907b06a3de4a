// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/interrupt.h"
#include "app/terminal.h"
#include "io/numbers.h"
#include "io/synthetic/synthetic_source.h"

namespace atlas::app {

int runSample(const SampleArguments& arguments) {
    const bool quiet = arguments.json;
    struct Context {
        std::stop_token stop;
        bool quiet;
    } context{interruptToken(), quiet || !isTerminal(stderr)};
    io::writeSample(
        arguments.size, arguments.seed, arguments.out,
        [](double share, void* raw) {
            const auto* c = static_cast<Context*>(raw);
            if (!c->quiet) io::printText(stderr, "\r  %3.0f %%", 100 * share);
            return !c->stop.stop_requested();
        },
        &context);
    if (arguments.json)
        std::cout << nlohmann::json{{"path", arguments.out},
                                    {"size", arguments.size},
                                    {"seed", arguments.seed}}
                  << std::endl;
    else
        std::cout << "written: " << arguments.out << " and its truth beside it (.truth.tif)"
                  << std::endl;
    return 0;
}

}  // namespace atlas::app
