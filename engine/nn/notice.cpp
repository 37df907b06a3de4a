// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/notice.h"

#include <iostream>
#include <mutex>
#include <set>
#include <utility>

namespace atlas::engine {
namespace {

constexpr size_t kMostRemembered = 1000;

struct Notices {
    std::mutex mutex;
    std::set<std::string> said;
    NoticeSink sink;
};

/// Never destroyed: threads may have something to say while the program ends.
Notices& notices() {
    static auto& all = *new Notices;
    return all;
}

}  // namespace

void notice(const std::string& sentence) {
    NoticeSink sink;
    {
        Notices& all = notices();
        const std::lock_guard lock(all.mutex);
        if (all.said.size() >= kMostRemembered || !all.said.insert(sentence).second) return;
        sink = all.sink;
    }
    if (sink)
        sink(sentence);
    else
        std::cerr << "atlasscope: " + sentence + "\n" << std::flush;
}

NoticeSink setNoticeSink(NoticeSink sink) {
    Notices& all = notices();
    const std::lock_guard lock(all.mutex);
    all.said.clear();
    return std::exchange(all.sink, std::move(sink));
}

}  // namespace atlas::engine
