// SPDX-License-Identifier: Apache-2.0
// Checks that this installation works: readers, models, device, and one context classified.
#include <cstdio>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/places.h"
#include "engine/nn/classifier.h"
#include "io/color_source.h"
#include "io/reader_registry.h"

namespace atlas::app {
namespace {

std::string checkReaders() {
    std::string versions;
    for (const auto& line : io::readerVersions()) versions += (versions.empty() ? "" : ", ") + line;
    return versions;
}

std::string checkModels() {
    std::string names;
    for (const auto& model : installedModels()) {
        const auto config = engine::loadModelConfig(model);
        names += (names.empty() ? "" : ", ") + config.name;
    }
    if (names.empty()) throw std::runtime_error("no model is installed");
    return names;
}

std::string checkClassification() {
    const auto classifier = engine::Classifier::open(findModel("scenes"), {});
    const auto cache = std::make_shared<io::TileCache>(size_t{64} << 20);
    const auto source = io::openImage("synthetic:size=4096,seed=3");
    const io::ColorSource image(source, io::defaultDisplay(source->info()), cache);
    const int side = static_cast<int>(classifier->config().patchSizePx);
    const auto result =
        classifier->classify({{image.region(0, {512, 512, side, side}).rgba}}, true).at(0);
    float sum = 0, mass = 0;
    for (float p : result.probabilities) sum += p;
    for (float m : result.meanMass) mass += m;
    if (std::abs(sum - 1) > 1e-3f || std::abs(mass - 1) > 1e-3f)
        throw std::runtime_error("probabilities or attention do not sum to 1");
    return classifier->deviceReason() + ", " + classifier->versions();
}

}  // namespace

int runSelftest(const SelftestArguments& arguments) {
    const std::pair<const char*, std::function<std::string()>> checks[] = {
        {"readers", checkReaders},
        {"models", checkModels},
        {"classification", checkClassification}};
    int failures = 0;
    nlohmann::json report = nlohmann::json::object();
    for (const auto& [name, check] : checks) {
        std::string text;
        bool good = true;
        try {
            text = check();
        } catch (const std::exception& error) {
            good = false;
            text = error.what();
            ++failures;
        }
        report[name] = {{"ok", good}, {"detail", text}};
        if (!arguments.json)
            std::printf("%-16s %s  %s\n", name, good ? "ok    " : "FAILED", text.c_str());
    }
    if (arguments.json) std::cout << report.dump(1) << std::endl;
    return failures ? 1 : 0;
}

}  // namespace atlas::app
