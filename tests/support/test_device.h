// SPDX-License-Identifier: Apache-2.0
// Tests that can run on a device take it from ATLASSCOPE_TEST_DEVICE (cuda, cuda:1, cpu:libtorch).
#pragma once

#include <cstdlib>
#include <string>

#include "engine/nn/device.h"
#include "engine/nn/model_error.h"

namespace atlas::test {

struct TestDevice {
    std::string name;  ///< as `--device` takes it
    at::Device device{at::kCPU};
    std::string missing;  ///< why it cannot be had; empty: it can
};

/// `otherwise`: where the variable is not set.
inline TestDevice testDevice(const char* otherwise) {
    const char* given = std::getenv("ATLASSCOPE_TEST_DEVICE");
    TestDevice result;
    result.name = given && *given ? given : otherwise;
    try {
        result.device = engine::chooseDevice(result.name).device;
    } catch (const engine::ModelError& error) {
        result.missing = error.what();
    }
    return result;
}

/// Every tensor there.
inline engine::StateDict moved(engine::StateDict tensors, const at::Device& device) {
    for (auto& [name, tensor] : tensors) tensor = tensor.to(device);
    return tensors;
}

}  // namespace atlas::test

/// Loudly: what could not be tested on this machine.
#define ATLAS_REQUIRE_DEVICE(found) \
    if (!(found).missing.empty()) GTEST_SKIP() << "SKIPPED: " << (found).missing
