// SPDX-License-Identifier: Apache-2.0
// Where the shared test data lie: ATLASSCOPE_TEST_DATA, or ../shared of the checkout.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace atlas::test {

inline std::filesystem::path dataRoot() {
    if (const char* given = std::getenv("ATLASSCOPE_TEST_DATA")) return given;
    return ATLASSCOPE_DEFAULT_TEST_DATA;
}

}  // namespace atlas::test

/// Skips the running test, loudly, where a shared file or folder is absent.
#define ATLAS_REQUIRE_DATA(path)                                 \
    if (!std::filesystem::exists(path))                          \
    GTEST_SKIP() << "SKIPPED: no shared test data at " << (path) \
                 << "; set ATLASSCOPE_TEST_DATA to the folder that holds golden/ and data/"
