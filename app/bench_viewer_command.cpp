// SPDX-License-Identifier: Apache-2.0
#include <QApplication>
#include <QJsonArray>
#include <QJsonDocument>
#include <QSurfaceFormat>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "app/command_line.h"
#include "app/places.h"
#include "io/numbers.h"
#include "io/reader_registry.h"
#include "ui/bench/viewer_bench.h"
#include "ui/theme.h"

namespace atlas::app {

namespace {

/// Ends the program where a driver, a file or a server does not come back: the bounded waits of the
/// benchmark cannot reach into them.
class Watchdog {
  public:
    explicit Watchdog(double seconds)
        : thread_([this, seconds](const std::stop_token& stop) {
              std::unique_lock lock(mutex_);
              const auto most = std::chrono::duration<double>(seconds);
              if (ended_.wait_for(lock, stop, most, [&] { return stop.stop_requested(); }) ||
                  stop.stop_requested())
                  return;
              io::printText(stderr,
                            "atlasscope: bench-viewer was stopped after %.0f s, as the machine did "
                            "not come back from: %s\n",
                            seconds, last_.c_str());
              std::_Exit(1);
          }) {}
    /// What is being done, for the message.
    void note(const std::string& line) {
        const std::lock_guard lock(mutex_);
        last_ = line;
    }

  private:
    std::mutex mutex_;
    std::condition_variable_any ended_;
    std::string last_ = "opening the window";
    std::jthread thread_;  // last: it uses the others
};

/// Milliseconds, or that they were not reached.
std::string millisecondsText(const QJsonValue& value) {
    return value.isNull() ? "not reached" : io::formatFixed(value.toDouble(), 0) + " ms";
}

}  // namespace

int runBenchViewer(const BenchViewerArguments& arguments) {
    constexpr double kGrace = 15;  // seconds beyond the limit, for a frame and for closing
    if (!(arguments.limit >= 1) || arguments.limit > 86400)
        throw std::invalid_argument("--limit is a number of seconds from 1 to 86400");
    requireDisplay();
    io::printText(stderr, "%s: measured for %.0f s at most, and ended after %.0f in any case\n",
                  arguments.image.c_str(), arguments.limit, arguments.limit + kGrace);
    Watchdog watchdog(arguments.limit + kGrace);
    QSurfaceFormat format;
    format.setVersion(3, 3);
    format.setProfile(QSurfaceFormat::CoreProfile);
    format.setSwapInterval(0);
    QSurfaceFormat::setDefaultFormat(format);
    int argc = 1;
    char name[] = "atlasscope";
    char* argv[] = {name, nullptr};
    QApplication app(argc, argv);
    ui::applyTheme(app, "dark");
    ui::ViewerBenchOptions options;
    options.frames = arguments.frames;
    options.delayMs = arguments.delay;
    options.limitSeconds = arguments.limit;
    options.progress = [&](const QString& line) {
        watchdog.note(line.toStdString());
        std::cerr << "  " << line.toStdString() << std::endl;
    };
    watchdog.note("opening " + arguments.image);
    QJsonObject result = ui::benchViewer(io::openImage(arguments.image), options);
    result["image"] = QString::fromStdString(arguments.image);
    if (arguments.json) {
        std::cout << QJsonDocument(result).toJson().toStdString();
        return 0;
    }
    const auto of = [&](const char* run, const char* what) {
        return result[run].toObject()[what].toDouble();
    };
    io::printText(
        stdout,
        "first coarse picture %s, sharp after a jump at most %s\n"
        "frame times in ms (median, 99 %%, most): cached %.1f %.1f %.1f, tiles %d ms late %.1f "
        "%.1f %.1f\n"
        "99 %% of the slowed flight: %.2f times that of the cached one\n"
        "uploads in %s\n"
        "textures %.0f of %.0f MiB, tiles %.0f of %.0f MiB, memory grew %.0f MiB in the second "
        "half\n",
        millisecondsText(result["first_coarse"]).c_str(), millisecondsText(result["sharp"]).c_str(),
        of("cached", "median"), of("cached", "p99"), of("cached", "max"), arguments.delay,
        of("slowed", "median"), of("slowed", "p99"), of("slowed", "max"),
        result["ratio_p99"].toDouble(),
        result["uploads_in_thread"].toBool() ? "a thread of their own" : "the GUI thread",
        result["texture_mib"].toDouble(), result["texture_budget_mib"].toDouble(),
        result["cache_mib"].toDouble(), result["cache_budget_mib"].toDouble(),
        result["rss_growth_mib"].toDouble());
    for (const auto& missed : result["not_reached"].toArray())
        io::printText(stdout, "not reached in the time: %s\n",
                      missed.toString().toStdString().c_str());
    return 0;
}

}  // namespace atlas::app
