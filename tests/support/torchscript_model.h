// SPDX-License-Identifier: Apache-2.0
// A small exported model in WSInfer's layout: brightness decides between two classes.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace atlas::test {

/// For ClassifierOptions::refuseCode: what a test wrote may run.
inline std::string trustAll(std::string_view) {
    return {};
}

inline std::filesystem::path writeTorchScript(const std::filesystem::path& dir) {
    std::filesystem::create_directories(dir);
    torch::jit::Module module("Brightness");
    module.define(
        "def forward(self, x):\n"
        "    b = x.mean([1, 2, 3]).unsqueeze(1)\n"
        "    return torch.cat([b, -b], 1)\n");
    module.save((dir / "torchscript_model.pt").string());
    std::ofstream(dir / "config.json")
        << R"({"spec_version":"1.0","architecture":"none","num_classes":2,
               "class_names":["bright","dark"],"patch_size_pixels":256,"spacing_um_px":500000,
               "transform":[{"name":"Resize","arguments":{"size":64}},{"name":"ToTensor"},
                            {"name":"Normalize","arguments":{"mean":[0.4,0.4,0.4],
                                                             "std":[0.2,0.2,0.2]}}]})";
    return dir;
}

}  // namespace atlas::test
