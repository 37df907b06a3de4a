// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace atlas::app {

/// A person watches that stream: lines that overwrite themselves make sense there, not in a log.
inline bool isTerminal(std::FILE* stream) {
#if defined(_WIN32)
    return _isatty(_fileno(stream)) != 0;
#else
    return isatty(fileno(stream)) != 0;
#endif
}

}  // namespace atlas::app
