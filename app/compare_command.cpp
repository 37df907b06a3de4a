// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/interrupt.h"
#include "app/options.h"
#include "app/places.h"
#include "engine/training/compare_models.h"
#include "engine/training/trainer.h"
#include "io/numbers.h"

namespace atlas::app {

int runCompare(const CompareArguments& arguments) {
    engine::setThreads(arguments.engine.threads);
    std::vector<std::filesystem::path> models;
    std::vector<engine::ClassifierOptions> options;
    for (const auto& name : arguments.models) {
        models.push_back(findModel(name));
        options.push_back(optionsOf(models.back(), arguments.engine, arguments.trustModel));
    }
    const int64_t side = engine::largestPatch(models);
    const auto data = engine::openDataset(arguments.data, side);
    const auto result = engine::compareModels(models, options, *data, side, interruptToken());
    if (arguments.json) {
        auto json = result.toJson();
        json["data"] = arguments.data;
        json["data_fingerprint"] = data->fingerprint();
        std::cout << json.dump(1) << std::endl;
        return 0;
    }
    std::printf("%-20s %-12s %6s %22s %12s %10s", "model", "kind", "px", "right (95 %)", "s/Mpx",
                "peak MiB");
    for (const auto& m : result.models) std::printf(" %10.10s", m.name.c_str());
    std::printf("\n");
    for (size_t i = 0; i < result.models.size(); ++i) {
        const auto& m = result.models[i];
        std::string right = "other classes";
        if (m.right >= 0 && m.count > 0) {
            const auto interval = engine::wilsonInterval(m.right, m.count);
            right =
                io::formatText("%.1f %% (%.1f to %.1f)",
                               100.0 * static_cast<double>(m.right) / static_cast<double>(m.count),
                               100 * interval[0], 100 * interval[1]);
        }
        io::printText(stdout, "%-20.20s %-12.12s %6lld %22s %12.4f %10.0f", m.name.c_str(),
                      m.architecture.c_str(), static_cast<long long>(m.patchPx), right.c_str(),
                      m.secondsPerMegapixel, static_cast<double>(m.peakBytes) / 1048576);
        for (double same : result.agreement[i]) io::printText(stdout, " %8.1f %%", 100 * same);
        std::printf("\n");
    }
    std::printf("The last columns: share of the samples with the same answer.\n");
    return 0;
}

}  // namespace atlas::app
