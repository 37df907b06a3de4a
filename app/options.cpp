// SPDX-License-Identifier: Apache-2.0
#include "app/options.h"

#include <cstdio>
#include <iostream>
#include <stdexcept>
#include <string_view>

#include "app/memory.h"
#include "app/places.h"
#include "engine/pipeline/trust.h"
#include "io/numbers.h"

namespace atlas::app {

io::AlphaChoice parseAlpha(const std::string& text) {
    if (text == "auto") return io::AlphaChoice::Auto;
    if (text == "yes") return io::AlphaChoice::Believe;
    if (text == "no") return io::AlphaChoice::Ignore;
    throw std::invalid_argument("--alpha is auto, yes or no, not \"" + text + "\"");
}

int64_t parseMemory(const std::string& text) {
    if (text.empty()) return physicalMemory() / 4 * 3;
    std::string_view unit = text;
    const auto number = io::takeTypedNumber(unit);
    const double factor = unit == "G"   ? 1073741824.0
                          : unit == "M" ? 1048576.0
                          : unit == "K" ? 1024.0
                                        : 0;
    if (!number || factor == 0 || !(*number > 0) || *number * factor > 1e18)
        throw std::invalid_argument("--memory is a number with K, M or G, such as 4G, not \"" +
                                    text + "\"");
    return static_cast<int64_t>(*number * factor);
}

io::Rect parseRegion(const std::string& text) {
    long long x = 0, y = 0, w = 0, h = 0;
    char rest = 0;
    if (std::sscanf(text.c_str(), "%lld,%lld,%lld,%lld%c", &x, &y, &w, &h, &rest) != 4 || w <= 0 ||
        h <= 0)
        throw std::invalid_argument("--region is X,Y,WIDTH,HEIGHT in pixels, not \"" + text + "\"");
    return {x, y, w, h};
}

void trustModel(const std::filesystem::path& model) {
    const auto code = engine::codeOf(model);
    if (code && engine::trust(*code, trustFile()))
        std::cerr << "trusted from now on: " << code->file.string() << ", SHA-256 " << code->sha256
                  << std::endl;
}

engine::ClassifierOptions optionsOf(const std::filesystem::path& model,
                                    const EngineArguments& arguments, bool trust) {
    engine::RunRequest request;
    request.modelDir = model;
    request.device = arguments.device;
    request.precision = arguments.precision;
    request.cache = cacheDir();
    request.trustFile = trustFile();
    if (trust) trustModel(model);
    return engine::classifierOptions(request);
}

}  // namespace atlas::app
