// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/places.h"
#include "engine/bench/benchmark.h"
#include "io/bench/tile_bench.h"
#include "io/numbers.h"

namespace atlas::app {
namespace {

/// compile_s and eager_s of a whole network by resources/bench_torch_compile.py; nothing where it
/// is none, or where torch.compile does not work on this machine.
nlohmann::json timesOfTorchCompile(const std::string& python, const std::string& name,
                                   int threads) {
    const auto script = resourcesDir() / "bench_torch_compile.py";
    const std::string command = "\"" + python + "\" \"" + script.string() + "\" " + name + " " +
                                std::to_string(threads) + " 2>/dev/null";
    std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    if (!pipe) return {};
    std::string text;
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe.get())) > 0;)
        text.append(buffer, n);
    const auto times = nlohmann::json::parse(text, nullptr, false);
    return times.is_object() && times.contains("compile_s") ? times : nlohmann::json();
}

void addTorchCompile(const std::string& python, nlohmann::json& result, int threads, bool json) {
    for (auto& r : result["results"]) {
        const auto name = r["name"].get<std::string>();
        if (name.find("_blocks_") != std::string::npos ||
            name.find("_stem_") != std::string::npos || !name.starts_with("atlas_"))
            continue;
        const auto times = timesOfTorchCompile(python, name, threads);
        if (times.is_null()) continue;
        r["compile_s"] = times["compile_s"];
        r["eager_s"] = times["eager_s"];
        r["compile_ratio"] = times["compile_s"].get<double>() / r["ours_s"].get<double>();
        if (json) continue;
        io::printText(stdout, "%-28s torch.compile %.4f s (eager %.4f s): %.2f times ours\n",
                      name.c_str(), times["compile_s"].get<double>(),
                      times["eager_s"].get<double>(), r["compile_ratio"].get<double>());
        std::fflush(stdout);
    }
}

}  // namespace

int runBenchTiles(const BenchTilesArguments& arguments) {
    nlohmann::json results = nlohmann::json::array();
    double first = 0;
    for (const auto& t : io::timeTiles(arguments.image, arguments.seconds)) {
        if (t.threads == 1) first = t.direct;
        results.push_back({{"threads", t.threads},
                           {"tiles", t.tiles},
                           {"direct_tiles_s", t.direct},
                           {"openslide_tiles_s", t.openSlide},
                           {"ratio", t.direct / t.openSlide},
                           {"speedup", t.direct / first}});
        if (!arguments.json)
            io::printText(
                stdout,
                "%d thread(s): %.0f tiles a second, OpenSlide %.0f: %.2f times; %.2f times one "
                "thread\n",
                t.threads, t.direct, t.openSlide, t.direct / t.openSlide, t.direct / first);
    }
    if (arguments.json) std::cout << results.dump(1) << std::endl;
    return 0;
}

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
    options.device = arguments.device;
    if (!arguments.json) std::cout << engine::benchmarkLine(nullptr) << std::endl;
    auto result = engine::runBenchmarks(options, [&](const nlohmann::json& r) {
        if (!arguments.json) std::cout << engine::benchmarkLine(r) << std::endl;
    });
    if (!arguments.python.empty())
        addTorchCompile(arguments.python, result, arguments.threads, arguments.json);
    if (result.at("results").empty())
        throw std::runtime_error("no benchmark has \"" + arguments.filter + "\" in its name");
    if (arguments.json)
        std::cout << result.dump(1) << std::endl;
    else
        std::cout << "\nours: this program; plain: LibTorch in the manner of the original; "
                  << engine::benchmarkFooter(result["machine"]) << std::endl;
    if (!before.is_null()) std::cerr << engine::compareBenchmarks(before, result);
    return 0;
}

}  // namespace atlas::app
