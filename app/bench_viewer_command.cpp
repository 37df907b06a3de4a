// SPDX-License-Identifier: Apache-2.0
#include <QApplication>
#include <QJsonDocument>
#include <QSurfaceFormat>
#include <cstdio>
#include <iostream>

#include "app/command_line.h"
#include "app/places.h"
#include "io/numbers.h"
#include "io/reader_registry.h"
#include "ui/bench/viewer_bench.h"
#include "ui/theme.h"

namespace atlas::app {

int runBenchViewer(const BenchViewerArguments& arguments) {
    requireDisplay();
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
        "first coarse picture %.0f ms, sharp after a jump at most %.0f ms\n"
        "frame times in ms (median, 99 %%, most): cached %.1f %.1f %.1f, tiles %d ms late %.1f "
        "%.1f %.1f\n"
        "99 %% of the slowed flight: %.2f times that of the cached one\n"
        "uploads in %s\n"
        "textures %.0f of %.0f MiB, tiles %.0f of %.0f MiB, memory grew %.0f MiB in the second "
        "half\n",
        result["first_coarse"].toDouble(), result["sharp"].toDouble(), of("cached", "median"),
        of("cached", "p99"), of("cached", "max"), arguments.delay, of("slowed", "median"),
        of("slowed", "p99"), of("slowed", "max"), result["ratio_p99"].toDouble(),
        result["uploads_in_thread"].toBool() ? "a thread of their own" : "the GUI thread",
        result["texture_mib"].toDouble(), result["texture_budget_mib"].toDouble(),
        result["cache_mib"].toDouble(), result["cache_budget_mib"].toDouble(),
        result["rss_growth_mib"].toDouble());
    return 0;
}

}  // namespace atlas::app
