// SPDX-License-Identifier: Apache-2.0
// What the launcher and the program that it starts agree on.
#pragma once

#include <cstdlib>

namespace atlas::app {

/// Set beside GOMP_SPINCOUNT where the launcher, not the user, has set that.
inline constexpr const char* kLauncherMark = "ATLASSCOPE_LAUNCHED";
inline constexpr const char* kSpinCount = "GOMP_SPINCOUNT";

/// In the program: leaves the environment as the user left it, so that programs which this one
/// starts wait as they would have done.
inline void forgetLauncher() {
#ifdef __linux__
    if (!std::getenv(kLauncherMark)) return;
    unsetenv(kLauncherMark);
    unsetenv(kSpinCount);
#endif
}

}  // namespace atlas::app
