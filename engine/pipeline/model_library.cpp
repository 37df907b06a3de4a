// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/model_library.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <stdexcept>

#include "engine/pipeline/run_folder.h"
#include "engine/pipeline/trust.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 1e-4;

/// Smooth colours with grain, another picture for each seed.
ContextPixels madeUp(int64_t side, uint32_t seed) {
    std::minstd_rand random(seed + 1);
    const double fx = 2 + random() % 9, fy = 2 + random() % 9;
    ContextPixels context;
    context.rgba.resize(static_cast<size_t>(4 * side * side));
    for (int64_t y = 0; y < side; ++y)
        for (int64_t x = 0; x < side; ++x) {
            auto* pixel = &context.rgba[static_cast<size_t>(4 * (y * side + x))];
            for (int c = 0; c < 3; ++c) {
                const double wave =
                    std::sin(6.283 * (fx * static_cast<double>(x) + c) /
                             static_cast<double>(side)) *
                    std::cos(6.283 * (fy * static_cast<double>(y) + c) / static_cast<double>(side));
                pixel[c] =
                    static_cast<uint8_t>(128 + 90 * wave + static_cast<double>(random() % 32));
            }
            pixel[3] = 255;
        }
    return context;
}

fs::path nameIn(const fs::path& library, const fs::path& from) {
    const fs::path whole = fs::weakly_canonical(from);
    return library / (whole.has_filename() ? whole.filename() : whole.parent_path().filename());
}

}  // namespace

ModelCard modelCard(const fs::path& dir) {
    ModelCard card{dir, loadModelConfig(dir), {}, 0};
    const auto& a = card.config.architecture;
    card.format = a == kTorchScript    ? "TorchScript (WSInfer)"
                  : a == kOnnx         ? "ONNX (Deepness)"
                  : a == "atlas"       ? "Atlas"
                  : a == "vil"         ? "Vision Longformer"
                  : a == "halonet"     ? "HaloNet"
                  : a == "scalablevit" ? "ScalableViT"
                                       : a;
    std::error_code error;
    if (fs::is_regular_file(dir, error)) {
        card.bytes = static_cast<int64_t>(fs::file_size(dir, error));
    } else {
        for (const auto& entry : fs::recursive_directory_iterator(dir, error))
            if (entry.is_regular_file(error))
                card.bytes += static_cast<int64_t>(entry.file_size(error));
    }
    return card;
}

fs::path addModel(const fs::path& from, const fs::path& library) {
    if (library.empty()) throw std::runtime_error("there is no folder for models of the user");
    const ModelCard card = modelCard(from);  // names what is wrong with it
    const fs::path weights = weightsFile(from), to = nameIn(library, from);
    if (!fs::exists(weights))
        throw std::runtime_error(weights.string() + ": the weights of the model are missing");
    if (fs::exists(to)) {
        if (fs::equivalent(from, to) || fileSha256(weightsFile(to)) == fileSha256(weights))
            return to;
        throw std::runtime_error(to.string() +
                                 ": another model of this name is there; remove it first");
    }
    fs::create_directories(library);
    const fs::path temporary = library / ("." + to.filename().string() + ".adding");
    fs::remove_all(temporary);
    try {
        if (fs::is_regular_file(from)) {
            fs::copy_file(from, temporary);
        } else {
            fs::create_directory(temporary);
            for (const auto& entry : fs::directory_iterator(from)) {
                const auto kind = entry.path().extension();
                const bool part = entry.path() == weights || kind == ".json" || kind == ".md" ||
                                  kind == ".txt" || kind.empty();
                if (part && entry.is_regular_file())
                    fs::copy_file(entry.path(), temporary / entry.path().filename());
            }
        }
        fs::rename(temporary, to);
    } catch (...) {
        std::error_code ignored;
        fs::remove_all(temporary, ignored);
        throw;
    }
    return to;
}

void removeModel(const fs::path& dir, const fs::path& library) {
    if (library.empty() || !fs::exists(dir) ||
        fs::weakly_canonical(dir).parent_path() != fs::weakly_canonical(library))
        throw std::runtime_error(dir.string() +
                                 ": only models that were added here can be removed");
    fs::remove_all(dir);
}

ModelCheck checkModel(const Classifier& classifier) {
    const auto& config = classifier.config();
    ModelCheck check;
    check.device = classifier.deviceReason();
    const auto ask = [&](uint32_t seed) {
        const auto begin = std::chrono::steady_clock::now();
        auto answer =
            classifier.classify({madeUp(config.patchSizePx, seed)}, false).at(0).probabilities;
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        check.secondsPerContext = took.count();
        return answer;
    };
    try {
        const auto first = ask(1), second = ask(2);
        const double once = check.secondsPerContext;
        const auto again = ask(1);
        check.secondsPerContext = std::min(once, check.secondsPerContext);
        const auto pixels = static_cast<double>(config.patchSizePx * config.patchSizePx);
        check.megapixelsPerSecond = pixels / 1e6 / check.secondsPerContext;
        double sum = 0, drift = 0, change = 0;
        for (size_t c = 0; c < first.size(); ++c) {
            if (!std::isfinite(first[c]) || first[c] < 0) {
                check.finding = "it answers with numbers that are no probabilities";
                return check;
            }
            sum += first[c];
            drift = std::max(drift, std::abs(double{first[c]} - again.at(c)));
            change = std::max(change, std::abs(double{first[c]} - second.at(c)));
        }
        if (first.size() != config.classNames.size())
            check.finding = "it answers with " + std::to_string(first.size()) + " numbers for " +
                            std::to_string(config.classNames.size()) + " classes";
        else if (std::abs(sum - 1) > 1e-3)
            check.finding = "its probabilities do not add up to 1";
        else if (drift > kTolerance)
            check.finding = "it answers differently to the same picture";
        else
            check.good = true;
        if (check.good)
            check.finding =
                change > 1e-6
                    ? "it loads, and its answers are probabilities that follow the picture"
                    : "it loads, but answers the same to different pictures";
    } catch (const std::exception& error) {
        check.finding = error.what();
    }
    return check;
}

}  // namespace atlas::engine
