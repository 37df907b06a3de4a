// SPDX-License-Identifier: Apache-2.0
// A window on a virtual screen, with the bundled models and nothing of the user's.
#pragma once

#include <gtest/gtest.h>

#include <QApplication>
#include <QClipboard>
#include <QFile>
#include <QJsonArray>
#include <QJsonObject>
#include <QRegularExpression>
#include <QSettings>
#include <QStandardPaths>
#include <QSurfaceFormat>
#include <QTest>
#include <QTextBrowser>
#include <QWheelEvent>
#include <cmath>
#include <fstream>
#include <numeric>

#include "tests/support/gate.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {

namespace fs = std::filesystem;

inline const fs::path kHelp = fs::path(ATLASSCOPE_SOURCE_DIR) / "resources" / "help";
inline const fs::path kModels = fs::path(ATLASSCOPE_SOURCE_DIR) / "resources" / "models";

class WindowTest : public testing::Test {
  protected:
    void SetUp() override {
        WindowOptions options;
        options.models = {kModels / "landuse", kModels / "scenes"};
        options.defaults.trustFile = folder_.path() / "trusted.json";
        options.userData = folder_.path() / "user";
        options.userModels = folder_.path() / "models";
        options.sampleImage = "synthetic:size=4096,seed=21";
        options.guide = QString::fromStdString((kHelp / "guide.md").string());
        options.facts = [] { return std::vector<DoctorLine>{{"device", "none, as it is a test"}}; };
        options.selfTest = [] { return std::vector<DoctorLine>{{"readers", "broken", false}}; };
        options.watch = [this](const QString& name) { gate_.pass(name); };
        window_ = std::make_unique<MainWindow>(options);
        window_->resize(1300, 820);
        window_->show();
        ASSERT_TRUE(QTest::qWaitForWindowExposed(window_.get()));
        QApplication::setActiveWindow(window_.get());  // no window manager gives it the focus
    }

    void TearDown() override { gate_.release(); }

    bool settle(int ms = 120000) {
        return QTest::qWaitFor([&] { return window_->settled(); }, ms) &&
               QTest::qWaitFor([&] { return window_->settled(); }, 500);
    }
    void open(const std::string& path) {
        window_->openImage(QString::fromStdString(path));
        ASSERT_TRUE(settle());
        QTest::qWait(100);
        ASSERT_TRUE(settle());
    }
    /// A copy, so that results do not land beside the shared data.
    std::string copyOf(const std::string& name) {
        const fs::path from = test::dataRoot() / "data" / name,
                       to = folder_.path() / from.filename();
        fs::copy_file(from, to, fs::copy_options::overwrite_existing);
        return to.string();
    }
    QImage drawn() { return window_->canvas()->grabFramebuffer(); }
    /// The drawn pixel that holds an image position.
    QColor at(const QImage& picture, double x, double y) {
        const QPointF view = window_->canvas()->transform().viewFromImage(QPointF(x, y));
        return picture.pixelColor(static_cast<int>(std::floor(view.x())),
                                  static_cast<int>(std::floor(view.y())));
    }
    static double difference(const QColor& a, const QColor& b) {
        return std::max({std::abs(a.red() - b.red()), std::abs(a.green() - b.green()),
                         std::abs(a.blue() - b.blue())});
    }
    QJsonObject values() { return window_->values(); }

    test::TemporaryFolder folder_;
    test::Gate gate_;
    std::unique_ptr<MainWindow> window_;
};

}  // namespace atlas::ui
