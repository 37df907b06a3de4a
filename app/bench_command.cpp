// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "engine/bench/benchmark.h"

namespace atlas::app {

int runBench(const BenchArguments& arguments) {
    nlohmann::json before;
    if (!arguments.compare.empty()) {
        std::ifstream file(arguments.compare);
        before = nlohmann::json::parse(file, nullptr, false);
        if (!before.is_object() || !before.contains("results"))
            throw std::runtime_error(arguments.compare + ": no benchmark results in it");
    }
    engine::BenchmarkOptions options;
    options.filter = arguments.filter;
    options.all = arguments.all;
    options.seconds = arguments.seconds;
    options.threads = arguments.threads;
    if (!arguments.json) std::cout << engine::benchmarkLine(nullptr) << std::endl;
    const auto result = engine::runBenchmarks(options, [&](const nlohmann::json& r) {
        if (!arguments.json) std::cout << engine::benchmarkLine(r) << std::endl;
    });
    if (result.at("results").empty())
        throw std::runtime_error("no benchmark has \"" + arguments.filter + "\" in its name");
    if (arguments.json)
        std::cout << result.dump(1) << std::endl;
    else
        std::cout << "\nours: this program; plain: LibTorch in the manner of the original; peak: "
                     "share of "
                  << static_cast<int>(result["machine"]["matmul_gflops"].get<double>())
                  << " GFLOP/s, what a large matrix product reaches here ("
                  << result["machine"]["processor"].get<std::string>() << ", "
                  << result["machine"]["threads"] << " threads)" << std::endl;
    if (!before.is_null()) std::cerr << engine::compareBenchmarks(before, result);
    return 0;
}

}  // namespace atlas::app
