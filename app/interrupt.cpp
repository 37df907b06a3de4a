// SPDX-License-Identifier: Apache-2.0
#include "app/interrupt.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

namespace atlas::app {
namespace {

std::atomic<bool> interrupted{false};

extern "C" void onSignal(int number) {
    if (interrupted.exchange(true)) {
        std::signal(number, SIG_DFL);
        std::raise(number);
    }
}

}  // namespace

std::stop_token interruptToken() {
    // A handler may only set a flag; a thread turns it into a stop request.
    static std::stop_source source;
    static std::jthread watcher([](const std::stop_token& end) {
        std::signal(SIGINT, onSignal);
        std::signal(SIGTERM, onSignal);
        while (!end.stop_requested() && !source.stop_requested()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            if (interrupted) source.request_stop();
        }
    });
    return source.get_token();
}

}  // namespace atlas::app
