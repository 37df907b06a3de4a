// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/interrupt.h"
#include "app/options.h"
#include "app/places.h"
#include "app/terminal.h"
#include "engine/pipeline/classify_run.h"
#include "engine/pipeline/model_input.h"
#include "engine/pipeline/trust.h"
#include "io/numbers.h"

namespace atlas::app {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> listImages(const std::vector<std::string>& names) {
    std::vector<std::string> images;
    for (const auto& name : names) {
        std::error_code error;
        if (!fs::is_directory(name, error)) {
            images.push_back(name);
            continue;
        }
        std::vector<std::string> here;
        for (const auto& entry : fs::directory_iterator(name, error))
            if (entry.is_regular_file() && io::looksLikeImage(entry.path()))
                here.push_back(entry.path().string());
        std::sort(here.begin(), here.end());
        images.insert(images.end(), here.begin(), here.end());
    }
    return images;
}

engine::RunRequest requestOf(const ClassifyArguments& arguments) {
    engine::RunRequest request;
    request.modelDir = findModel(arguments.model);
    request.out = arguments.out;
    request.overlap = arguments.overlap;
    request.device = arguments.engine.device;
    request.precision = arguments.engine.precision;
    request.threads = arguments.engine.threads;
    request.memoryBytes = parseMemory(arguments.engine.memory);
    request.cache = cacheDir();
    request.trustFile = trustFile();
    request.wholeImage = arguments.context == "whole";
    request.attention = arguments.attention;
    request.mask = !arguments.noMask;
    request.tissueRule = engine::parseTissueRule(arguments.tissueRule);
    request.open.alpha = parseAlpha(arguments.alpha);
    request.input = engine::parseInputChoice(arguments.bands, arguments.stretch);
    if (!arguments.resolution.empty())
        request.resolutionUm = engine::parseResolution(arguments.resolution);
    if (!arguments.region.empty()) request.region = parseRegion(arguments.region);
    return request;
}

/// Says once what the network is given and of which places, and who else writes the same run.
void printFacts(const engine::RunProgress& p, engine::RunProgress& said) {
    if (p.input != said.input) std::fprintf(stderr, "  %s\n", p.input.c_str());
    if (p.mask != said.mask) std::fprintf(stderr, "  Contexts: %s\n", p.mask.c_str());
    if (p.waitingFor != said.waitingFor && !p.waitingFor.empty())
        std::fprintf(stderr, "  %s is at work on this same run; waiting for it\n",
                     p.waitingFor.c_str());
    said.input = p.input;
    said.mask = p.mask;
    said.waitingFor = p.waitingFor;
}

void printProgress(const engine::RunProgress& p) {
    if (p.state == engine::RunState::Running && p.fraction >= 0 && isTerminal(stderr)) {
        io::printText(stderr, "\r  %.1f %%, %s, %.1f Mpx/s, %.0f s left   ", 100 * p.fraction,
                      p.bottleneck.c_str(), p.megapixelsPerSecond, std::max(0.0, p.secondsLeft));
        return;
    }
    if (p.state != engine::RunState::Running || p.contextsPerSecond <= 0 || !isTerminal(stderr))
        return;
    io::printText(
        stderr,
        "\r  %lld of %lld contexts, %.1f a second, %.1f Mpx/s, %.0f s left, waiting for the %s   ",
        static_cast<long long>(p.done), static_cast<long long>(p.total), p.contextsPerSecond,
        p.megapixelsPerSecond, p.secondsLeft, p.bottleneck.c_str());
}

/// What speaks against a run, before it begins. Returns the texts.
std::vector<std::string> printFindings(const std::vector<engine::Finding>& findings) {
    std::vector<std::string> texts;
    for (const auto& finding : findings) {
        texts.push_back(finding.text());
        std::cerr << (finding.severity == engine::Severity::Note ? "  note: " : "  warning: ")
                  << texts.back() << std::endl;
    }
    return texts;
}

nlohmann::json findingsJson(const std::vector<engine::Finding>& findings) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& finding : findings)
        list.push_back({{"code", finding.code},
                        {"severity", engine::severityName(finding.severity)},
                        {"text", finding.text()}});
    return list;
}

/// Several images: a line each, with the codes of what speaks against it.
void printTable(const nlohmann::json& summary) {
    std::cout << "\nstate       contexts  warnings                      image" << std::endl;
    for (const auto& row : summary) {
        std::string codes;
        for (const auto& finding : row["findings"])
            if (finding["severity"] != "note")
                codes += (codes.empty() ? "" : " ") + finding["code"].get<std::string>();
        io::printText(stdout, "%-10s %9lld  %-28s  %s\n", row["state"].get<std::string>().c_str(),
                      row["contexts"].get<long long>(), codes.empty() ? "-" : codes.c_str(),
                      row["image"].get<std::string>().c_str());
    }
    std::fflush(stdout);
}

}  // namespace

int runClassify(const ClassifyArguments& arguments) {
    const auto images = listImages(arguments.images);
    if (images.empty()) throw std::runtime_error("no images were found in what was given");
    auto request = requestOf(arguments);
    if (arguments.trustModel) trustModel(request.modelDir);
    const std::shared_ptr<engine::Classifier> classifier =
        engine::Classifier::open(request.modelDir, engine::classifierOptions(request));
    if (!arguments.json)
        std::cerr << "model " << classifier->config().name << " on " << classifier->deviceReason()
                  << std::endl;
    const auto cache = std::make_shared<io::TileCache>(
        static_cast<size_t>(std::clamp<int64_t>(request.memoryBytes / 16, 64 << 20, 256 << 20)));
    const auto stop = interruptToken();
    int failures = 0;
    nlohmann::json summary = nlohmann::json::array();
    for (const auto& image : images) {
        if (stop.stop_requested()) break;
        request.image = image;
        engine::ClassifyRun run(request, cache, classifier);
        if (!arguments.json) std::cerr << image << std::endl;
        engine::RunProgress facts;
        std::vector<std::string> said;
        const auto outcome = run.run(stop, [&](const engine::RunProgress& p) {
            if (arguments.json) return;
            printFacts(p, facts);
            if (p.state == engine::RunState::Running && said.empty())
                said = printFindings(p.findings);
            printProgress(p);
        });
        const bool good = outcome.state == engine::RunState::Done;
        failures += !good;
        summary.push_back({{"image", image},
                           {"state", engine::runStateName(outcome.state)},
                           {"folder", outcome.folder.string()},
                           {"error", outcome.error},
                           {"contexts", outcome.contexts},
                           {"seconds", outcome.seconds},
                           {"already_there", outcome.alreadyThere},
                           {"most_frequent_class", outcome.mostFrequentClass},
                           {"unreadable_parts", outcome.unreadableParts},
                           {"warnings", outcome.warnings},
                           {"findings", findingsJson(outcome.findings)}});
        if (arguments.json) continue;
        if (isTerminal(stderr)) std::cerr << '\r';
        if (!outcome.error.empty()) std::cerr << "atlasscope: " << outcome.error << std::endl;
        for (const auto& warning : outcome.warnings)
            if (std::find(said.begin(), said.end(), warning) == said.end())
                std::cerr << "  note: " << warning << std::endl;
        if (!outcome.folder.empty())
            std::cout << outcome.stateText() << ": " << outcome.folder.string()
                      << "\n  overlay picture: " << (outcome.folder / "overlay.png").string()
                      << std::endl;
    }
    if (arguments.json)
        std::cout << summary.dump(1) << std::endl;
    else if (summary.size() > 1)
        printTable(summary);
    return failures || stop.stop_requested() ? 1 : 0;
}

}  // namespace atlas::app
