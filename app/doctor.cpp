// SPDX-License-Identifier: Apache-2.0
#include "app/doctor.h"

#include <torch/version.h>

#include <clocale>
#include <cmath>
#include <thread>

#include "app/memory.h"
#include "app/places.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/classifier.h"
#include "engine/nn/cuda_plugin.h"
#include "engine/nn/device.h"
#include "engine/nn/machine.h"
#include "io/color_source.h"
#include "io/numbers.h"
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

/// The locale, and that numbers are written with a point under it.
std::string checkNumbers() {
    if (io::parseNumber(io::formatNumber(0.5)) != 0.5 || io::parseTypedNumber("0,5") != 0.5 ||
        io::formatFixed(0.5, 1) != "0.5" || io::formatText("%.1f", 0.5) != "0.5")
        throw std::runtime_error("0.5 is not written and read as 0.5");
    const char* name = std::setlocale(LC_NUMERIC, nullptr);
    return std::string("locale ") + (name ? name : "unknown") + ", whose decimals follow \"" +
           std::localeconv()->decimal_point + "\"; in files they follow a point";
}

Finding found(const char* name, const std::function<std::string()>& check) {
    try {
        return {name, check(), true};
    } catch (const std::exception& error) {
        return {name, error.what(), false};
    }
}

std::string joined(const std::vector<std::string>& words) {
    std::string all;
    for (const auto& word : words) all += (all.empty() ? "" : ", ") + word;
    return all;
}

}  // namespace

std::vector<Finding> facts() {
    return {
        {"AtlasScope", ATLASSCOPE_VERSION},
        found("device", [] { return engine::chooseDevice("auto").reason; }),
        found("CUDA plug-in", [] { return engine::cudaPluginStatus(); }),
        found("processor",
              [] {
                  return engine::processorName() + ", " +
                         std::to_string(std::thread::hardware_concurrency()) + " threads, " +
                         engine::cpuKernels().name + " kernels";
              }),
        found("memory",
              [] {
                  return engine::memoryText(physicalMemory()) + " in the machine, " +
                         engine::memoryText(engine::processMemory("VmRSS")) +
                         " taken by this program";
              }),
        {"LibTorch", TORCH_VERSION},
        found("readers", checkReaders),
        found("raster codecs",
              [] {
                  const auto codecs = io::rasterCodecs();
                  return joined(codecs.present) +
                         (codecs.missing.empty() ? "" : "; without " + joined(codecs.missing));
              }),
        found("models", checkModels),
    };
}

std::vector<Finding> selfTest() {
    return {found("readers", checkReaders), found("numbers", checkNumbers),
            found("models", checkModels), found("classification", checkClassification)};
}

}  // namespace atlas::app
