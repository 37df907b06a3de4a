// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/shared_library.h"

#include <dlfcn.h>

namespace atlas::engine {

namespace fs = std::filesystem;

std::vector<fs::path> programFolders() {
    std::error_code error;
    const auto self = fs::read_symlink("/proc/self/exe", error);
    if (error) return {};
    return {self.parent_path(), self.parent_path() / "../lib/atlasscope"};
}

void* openLibrary(const std::vector<fs::path>& places, std::string& problem) {
    for (const auto& place : places) {
        std::error_code error;
        if (place.has_parent_path() && !fs::exists(place, error)) continue;
        if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
        if (place.has_parent_path()) problem = dlerror();
    }
    return nullptr;
}

void* detail::symbol(void* library, const char* name) {
    return dlsym(library, name);
}

}  // namespace atlas::engine
