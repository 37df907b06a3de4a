// SPDX-License-Identifier: Apache-2.0
// Libraries loaded at run time: the one place that knows how this platform does it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace atlas::engine {

/// The folders beside the program in which it keeps libraries of its own.
std::vector<std::filesystem::path> programFolders();

/// The first of `places` that can be loaded; one without a folder is looked for by the system. The
/// library stays for the life of the program. nullptr: none; `problem` says why, where one is
/// there.
void* openLibrary(const std::vector<std::filesystem::path>& places, std::string& problem);

namespace detail {
void* symbol(void* library, const char* name);
}

/// A function of a library; nullptr where it has none of this name.
template <typename Function>
Function symbolOf(void* library, const char* name) {
    return reinterpret_cast<Function>(detail::symbol(library, name));
}

}  // namespace atlas::engine
