// SPDX-License-Identifier: Apache-2.0
// Starts the program, which lies beside it, in this very process. LibTorch's threads (libgomp) spin
// for many milliseconds while they wait for each other; beside other busy programs that is the time
// in which the thread they wait for could have run. For how long they spin, libgomp reads from the
// environment once, when it is loaded, which is before main(): so it has to be said before.
#include "app/launcher.h"

#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

using namespace atlas::app;

// About 20 to 100 µs, by the processor: steps of a network follow each other within that time while
// nothing disturbs them.
constexpr const char* kSpins = "2000";

/// Benchmarks measure LibTorch as it comes.
bool isBenchmark(int argc, char** argv) {
    return argc > 1 && std::strcmp(argv[1], "bench") == 0;
}

}  // namespace

int main(int argc, char** argv) {
    char self[PATH_MAX + 1];
    const ssize_t length = readlink("/proc/self/exe", self, PATH_MAX);
    if (length < 0) {
        std::fprintf(stderr, "atlasscope: /proc/self/exe cannot be read: %s\n",
                     std::strerror(errno));
        return 127;
    }
    const std::string program = std::string(self, static_cast<size_t>(length)) + ATLASSCOPE_SUFFIX;
    if (!isBenchmark(argc, argv) && !std::getenv(kSpinCount) && !std::getenv("OMP_WAIT_POLICY")) {
        setenv(kLauncherMark, "1", 1);
        setenv(kSpinCount, kSpins, 1);
    }
    execv(program.c_str(), argv);
    std::fprintf(stderr, "atlasscope: %s, a part of this program, cannot be started: %s\n",
                 program.c_str(), std::strerror(errno));
    return 127;
}
