// SPDX-License-Identifier: Apache-2.0
// What the pipeline's tests share.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "engine/pipeline/classify_run.h"

namespace atlas::test {

inline const std::filesystem::path kModels =
    std::filesystem::path(ATLASSCOPE_SOURCE_DIR) / "resources" / "models";

/// `scenes` on the processor, in contexts of its own size.
inline engine::RunRequest sceneRequest(const std::filesystem::path& out,
                                       const std::string& image = "synthetic:size=4096,seed=21") {
    engine::RunRequest request;
    request.image = image;
    request.modelDir = kModels / "scenes";
    request.out = out;
    request.device = "cpu";
    return request;
}

inline engine::RunOutcome runOf(
    const engine::RunRequest& request, std::stop_token stop = {},
    const engine::ClassifyRun::Report& report = [](const engine::RunProgress&) {}) {
    return engine::ClassifyRun(request, std::make_shared<io::TileCache>(size_t{64} << 20))
        .run(std::move(stop), report);
}

inline std::string textOf(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace atlas::test
