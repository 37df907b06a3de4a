// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/run_settings.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/pipeline/text_file.h"

namespace atlas::engine {

RunSettings keepSettings(const std::filesystem::path& path, const RunSettings& fresh) try {
    if (std::ifstream file(path); file) {
        RunSettings settings;
        const auto text = nlohmann::json::parse(file);
        settings.contextsAtOnce = text.at("contexts_at_once").get<int>();
        settings.precision = text.at("precision").get<std::string>();
        if (settings.contextsAtOnce < 1 || settings.contextsAtOnce > 4096)
            throw std::runtime_error("\"contexts_at_once\" must lie between 1 and 4096");
        if (settings.precision != "fp32" && settings.precision != "bf16")
            throw std::runtime_error("\"precision\" must be fp32 or bf16");
        return settings;
    }
    TextFile file(path);
    file.out << nlohmann::json{{"contexts_at_once", fresh.contextsAtOnce},
                               {"precision", fresh.precision}}
                    .dump(1)
             << '\n';
    file.finish();
    return fresh;
} catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(path.string() + ": is damaged (" + error.what() +
                             "): delete the folder that it lies in to begin the run anew");
}

}  // namespace atlas::engine
