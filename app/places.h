// SPDX-License-Identifier: Apache-2.0
// Where the program's own files lie, wherever it is installed.
#pragma once

#include <filesystem>
#include <vector>

namespace atlas::app {

/// The resources folder: $ATLASSCOPE_RESOURCES, beside the installed program, or of the source
/// tree it was built from. Throws std::runtime_error naming the places tried.
std::filesystem::path resourcesDir();

/// Where models that the user adds are put; empty without a home.
std::filesystem::path userModels();

/// Folders below resources/models and the user's model folder with models in them, sorted.
std::vector<std::filesystem::path> installedModels();

/// Where measurements of this machine are kept; empty where there is no such place.
std::filesystem::path cacheDir();

/// Which exported models the user trusts; empty where there is no such place.
std::filesystem::path trustFile();

/// A model by folder, or by the name of an installed one. Throws std::runtime_error.
std::filesystem::path findModel(const std::string& nameOrFolder);

/// The scene that `run` without arguments shows.
inline constexpr const char* kSampleImage = "synthetic:size=16384,seed=1182";

}  // namespace atlas::app
