// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/command_line.h"
#include "app/places.h"
#include "engine/pipeline/explain.h"
#include "io/numbers.h"
#include "io/reader_registry.h"

namespace atlas::app {
namespace {

double medianMs(int repeats, const std::function<void(int)>& work) {
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work(i);
        const std::chrono::duration<double, std::milli> passed =
            std::chrono::steady_clock::now() - start;
        times.push_back(passed.count());
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

}  // namespace

/// Each question reads its context and runs the network anew: nothing is stored between them.
int runBenchProbe(const BenchProbeArguments& arguments) {
    const auto source = io::openImage(arguments.image);
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{256} << 20));
    engine::RunRequest request;
    request.image = arguments.image;
    request.modelDir = findModel(arguments.model);
    const auto network = engine::Classifier::open(request.modelDir, {.device = "cpu", .cache = {}});
    const auto& full = source->info().levels[0];
    const auto place = [&](int i) {  // another context each time
        const double share = (i * 7 % 16 + 0.5) / 16;
        return std::pair{share * static_cast<double>(full.width),
                         (i * 3 % 16 + 0.5) / 16 * static_cast<double>(full.height)};
    };
    const nlohmann::json result{
        {"model", arguments.model},
        {"repeats", arguments.repeats},
        {"patch_px", network->config().patchSizePx},
        {"probe_ms", medianMs(arguments.repeats,
                              [&](int i) {
                                  const auto [x, y] = place(i);
                                  engine::probeAt(image, *network, request, {}, x, y);
                              })},
        {"contributions_ms", medianMs(arguments.repeats,
                                      [&](int i) {
                                          const auto [x, y] = place(i);
                                          engine::contributionsAt(image, *network, request, x, y);
                                      })},
        {"flow_ms", medianMs(arguments.repeats, [&](int i) {
             const auto [x, y] = place(i);
             engine::flowAt(image, *network, request, x, y);
         })}};
    if (arguments.json)
        std::cout << result.dump(2) << "\n";
    else
        io::printText(
            stdout,
            "%s at %d px, median of %d: probe %.0f ms, contributions %.0f ms, flow %.0f ms\n",
            arguments.model.c_str(), result["patch_px"].get<int>(), arguments.repeats,
            result["probe_ms"].get<double>(), result["contributions_ms"].get<double>(),
            result["flow_ms"].get<double>());
    return 0;
}

}  // namespace atlas::app
