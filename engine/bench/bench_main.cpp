// SPDX-License-Identifier: Apache-2.0
// The benchmark where only LibTorch is: engine_bench [--json] [--all] [--seconds S] [--device D]
// [NAME_PART], and engine_bench --scaling [--json] [--most PX] [--limit S] [NAME_PART] for time and
// memory against size.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/bench/benchmark.h"
#include "engine/bench/scaling.h"
#include "io/numbers.h"

namespace {

double seconds(const char* text) {
    const auto value = atlas::io::parseTypedNumber(text);
    if (value) return *value;
    std::cerr << "engine_bench: \"" << text << "\" is no number of seconds" << std::endl;
    std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace atlas::engine;
    BenchmarkOptions options;
    ScalingOptions scaling;
    bool json = false, sizes = false;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--json") == 0)
            json = true;
        else if (std::strcmp(argv[i], "--all") == 0)
            options.all = true;
        else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            options.seconds = seconds(argv[++i]);
        else if (std::strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            options.device = argv[++i];
        else if (std::strcmp(argv[i], "--scaling") == 0)
            sizes = true;
        else if (std::strcmp(argv[i], "--most") == 0 && i + 1 < argc)
            scaling.most = std::atoll(argv[++i]);
        else if (std::strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
            scaling.limitSeconds = seconds(argv[++i]);
        else
            options.filter = argv[i];
    }
    try {
        if (sizes) {
            scaling.filter = options.filter;
            const auto result = runScaling(scaling, [](const nlohmann::json& point) {
                std::cerr << point.dump() << std::endl;
            });
            std::cout << result.dump(json ? 1 : -1) << std::endl;
            return 0;
        }
        if (!json) std::cout << benchmarkLine(nullptr) << std::endl;
        const auto result = runBenchmarks(options, [&](const nlohmann::json& r) {
            if (!json) std::cout << benchmarkLine(r) << std::endl;
        });
        if (json)
            std::cout << result.dump(1) << std::endl;
        else
            std::cout << benchmarkFooter(result.at("machine")) << std::endl;
    } catch (const std::exception& error) {
        std::cerr << "engine_bench: " << error.what() << std::endl;
        return 1;
    }
    return 0;
}
