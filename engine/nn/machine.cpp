// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/machine.h"

#include <cstdio>
#include <fstream>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "io/numbers.h"

namespace atlas::engine {

std::string processorName() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return {};
}

int64_t processMemory(const std::string& field) {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;)
        if (word == field + ":") {
            int64_t kib = 0;
            file >> kib;
            return kib * 1024;
        }
    return 0;
}

void forgetPeakMemory() {
#ifdef __GLIBC__
    malloc_trim(0);  // what was freed is not to be counted as being there
#endif
    std::ofstream("/proc/self/clear_refs") << 5;
}

std::string memoryText(int64_t bytes) {
    const double mebi = static_cast<double>(bytes) / 1048576;
    return mebi < 1024 ? io::formatFixed(mebi, 0) + " MiB"
                       : io::formatFixed(mebi / 1024, 1) + " GiB";
}

}  // namespace atlas::engine
