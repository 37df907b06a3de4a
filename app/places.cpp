// SPDX-License-Identifier: Apache-2.0
#include "app/places.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "engine/nn/model_config.h"

namespace atlas::app {
namespace fs = std::filesystem;
namespace {

fs::path programDir() {
#ifdef __linux__
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    if (!error) return self.parent_path();
#endif
    return fs::current_path();
}

}  // namespace

fs::path userModels() {
    if (const char* data = std::getenv("XDG_DATA_HOME"))
        return fs::path(data) / "atlasscope" / "models";
    if (const char* home = std::getenv("HOME"))
        return fs::path(home) / ".local/share/atlasscope/models";
    return {};
}

fs::path resourcesDir() {
    std::vector<fs::path> places;
    if (const char* given = std::getenv("ATLASSCOPE_RESOURCES")) places.emplace_back(given);
    places.push_back(programDir() / "../share/atlasscope");
    places.push_back(programDir() / "../../../resources");  // build/<preset>/bin of a source tree
    places.emplace_back(ATLASSCOPE_SOURCE_RESOURCES);
    std::string tried;
    for (const auto& place : places) {
        if (fs::exists(place / "models")) return fs::weakly_canonical(place);
        tried += "\n  " + place.string();
    }
    throw std::runtime_error("the program's resources were not found; tried:" + tried);
}

std::vector<fs::path> installedModels() {
    std::vector<fs::path> models;
    for (const auto& root : {resourcesDir() / "models", userModels()}) {
        std::error_code error;
        std::vector<fs::path> here;
        for (const auto& entry : fs::directory_iterator(root, error))
            if (!entry.path().filename().string().starts_with('.') && engine::isModel(entry.path()))
                here.push_back(entry.path());
        std::sort(here.begin(), here.end());
        models.insert(models.end(), here.begin(), here.end());
    }
    return models;
}

fs::path findModel(const std::string& nameOrFolder) {
    if (engine::isModel(nameOrFolder)) return nameOrFolder;
    std::string known;
    for (const auto& model : installedModels()) {
        if (model.filename() == nameOrFolder) return model;
        known += " " + model.filename().string();
    }
    throw std::runtime_error(
        "there is no model \"" + nameOrFolder +
        "\": give a folder with a config.json, an .onnx file, or one of:" + known);
}

fs::path trustFile() {
    const fs::path models = userModels();
    return models.empty() ? models : models.parent_path() / "trusted-models.json";
}

std::filesystem::path cacheDir() {
    if (const char* given = std::getenv("XDG_CACHE_HOME"); given && *given)
        return std::filesystem::path(given) / "atlasscope";
    if (const char* home = std::getenv("HOME"); home && *home)
        return std::filesystem::path(home) / ".cache" / "atlasscope";
    return {};
}

}  // namespace atlas::app
