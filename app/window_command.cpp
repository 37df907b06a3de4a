// SPDX-License-Identifier: Apache-2.0
// Builds the window and everything it needs; with bench_viewer the only one of app that knows Qt.
#include <QApplication>
#include <QSettings>
#include <QStandardPaths>
#include <QSurfaceFormat>
#include <QTimer>
#include <QTranslator>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "app/command_line.h"
#include "app/doctor.h"
#include "app/interrupt.h"
#include "app/options.h"
#include "app/places.h"
#include "ui/main_window/main_window.h"
#include "ui/steps_player.h"
#include "ui/theme.h"

namespace atlas::app {
namespace {

bool displayMissing() {
#ifdef __linux__
    const auto set = [](const char* name) {
        const char* value = std::getenv(name);
        return value && *value;
    };
    return !set("DISPLAY") && !set("WAYLAND_DISPLAY") && !set("QT_QPA_PLATFORM");
#else
    return false;
#endif
}

}  // namespace

void requireDisplay() {
    if (displayMissing())
        throw std::runtime_error(
            "there is no display (DISPLAY is not set). Without one, use: atlasscope classify IMAGE "
            "--model NAME --out FOLDER");
}

int runWindow(const WindowArguments& arguments, int& argc, char** argv) {
    requireDisplay();
    if (!arguments.image.empty() && arguments.image.find(':') == std::string::npos &&
        !std::filesystem::exists(arguments.image))
        throw std::runtime_error("\"" + arguments.image +
                                 "\" is neither a command nor a file; see atlasscope --help");
    QSurfaceFormat format;
    format.setVersion(3, 3);
    format.setProfile(QSurfaceFormat::CoreProfile);
    format.setSwapInterval(arguments.steps.empty() ? 1 : 0);
    QSurfaceFormat::setDefaultFormat(format);
    argc = 1;  // the rest is ours
    QApplication app(argc, argv);
    QApplication::setApplicationName("AtlasScope");
    QApplication::setOrganizationName("AtlasScope");
    // Every text of the window goes through tr(): a translation put there is used.
    QTranslator translator;
    if (translator.load(QLocale(), "atlasscope", "_",
                        QString::fromStdString((resourcesDir() / "translations").string())))
        QApplication::installTranslator(&translator);
    ui::applyTheme(app, QSettings().value("window/theme", "dark").toString());
    ui::WindowOptions options;
    options.models = installedModels();
    options.userData =
        QStandardPaths::writableLocation(QStandardPaths::AppDataLocation).toStdString();
    options.userModels = userModels();
    options.sampleImage = kSampleImage;
    options.defaults.device = arguments.engine.device;
    options.defaults.precision = arguments.engine.precision;
    options.defaults.threads = arguments.engine.threads;
    options.defaults.memoryBytes = parseMemory(arguments.engine.memory);
    options.defaults.cache = cacheDir();
    options.defaults.trustFile = trustFile();
    const auto lines = [](const std::vector<Finding>& findings) {
        std::vector<ui::DoctorLine> result;
        for (const auto& f : findings) result.push_back({f.name, f.detail, f.good});
        return result;
    };
    options.guide = QString::fromStdString((resourcesDir() / "help" / "guide.md").string());
    options.facts = [lines] { return lines(facts()); };
    options.selfTest = [lines] { return lines(selfTest()); };
    ui::MainWindow window(options);
    window.show();
    if (!arguments.model.empty() &&
        !window.runPanel()->chooseModel(QString::fromStdString(arguments.model)))
        window.showMessage(
            QString("There is no model \"%1\".").arg(QString::fromStdString(arguments.model)));
    const QString image = arguments.image.empty() && arguments.classify
                              ? QString(kSampleImage)
                              : QString::fromStdString(arguments.image);
    if (arguments.classify)
        QObject::connect(
            &window, &ui::MainWindow::imageOpened, &window, [&window] { window.startRun(); },
            Qt::SingleShotConnection);
    const auto settings = ui::ViewerSettings::load();
    window.applySettings(settings);
    if (!image.isEmpty())
        window.openImage(image);
    else if (arguments.steps.empty() && !window.restoreCrashed() && settings.restoreSession)
        window.restoreLast();
    if (!arguments.steps.empty()) {
        auto* player = new ui::StepsPlayer(&window, QString::fromStdString(arguments.steps));
        QObject::connect(player, &ui::StepsPlayer::finished, &app, [player](bool good) {
            for (const auto& error : player->errors())
                std::cerr << "atlasscope: " << error.toStdString() << std::endl;
            QApplication::exit(good ? 0 : 1);
        });
        player->start();
    }
    QTimer signals;  // Ctrl+C ends the window in order
    const auto stop = interruptToken();
    QObject::connect(&signals, &QTimer::timeout, &window, [&window, stop] {
        if (stop.stop_requested()) window.close();
    });
    signals.start(200);
    return QApplication::exec();
}

}  // namespace atlas::app
