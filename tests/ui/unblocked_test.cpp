// SPDX-License-Identifier: Apache-2.0
// The window never waits for a file or a network: large runs are read, live layers are fetched and
// summaries are written elsewhere. And what it says of sizes and shares is the image's own.
#include <QtTest/qtestspontaneevent.h>
#include <QElapsedTimer>
#include <QOffscreenSurface>
#include <QOpenGLContext>
#include <QOpenGLFunctions>
#include <QScrollArea>
#include <QScrollBar>
#include <QTableWidget>
#include <nlohmann/json.hpp>

#include "tests/support/by_hand_fixture.h"
#include "tests/support/pipeline_runs.h"
#include "ui/viewer/texture_uploader.h"

namespace atlas::ui {
namespace {

class UnblockedTest : public ByHandTest {
  protected:
    static constexpr const char* kImage = "synthetic:size=2048,seed=21";

    fs::path runBefore(const char* image, double overlap = 0) {
        auto request = test::sceneRequest(folder_.path() / "user/results", image);
        request.overlap = overlap;
        const auto outcome = test::runOf(request);
        EXPECT_EQ(outcome.state, engine::RunState::Done) << outcome.error;
        return outcome.folder;
    }
    /// The longest time between two looks of the event loop while it waits; milliseconds.
    qint64 longestGap(const std::function<bool()>& until) {
        QElapsedTimer since;
        qint64 longest = 0;
        QTimer timer;
        QObject::connect(&timer, &QTimer::timeout,
                         [&] { longest = std::max(longest, since.restart()); });
        since.start();
        timer.start(2);
        EXPECT_TRUE(QTest::qWaitFor(until, 120000));
        return std::max(longest, since.elapsed());
    }
};

/// Probabilities as a run over a large slide has them.
void makeLarge(const fs::path& run) {
    const auto small = io::readRasterFile(run / "prob.tif");
    io::GridRaster large(2000, 2000, small.bands);
    large.bandNames = small.bandNames;
    large.cellWidth = large.cellHeight = 2048.0 / 2000;
    for (int band = 0; band < large.bands; ++band)
        for (int y = 0; y < large.height; ++y)
            for (int x = 0; x < large.width; ++x)
                large.at(band, x, y) = static_cast<float>((x / 37 + y / 23 + band) % 16) / 16;
    io::writeRasterFile(run / "prob.tif", large, {});
}

TEST_F(UnblockedTest, AnswersWhileALargeRunIsRead) {
    const auto first = runBefore(kImage), second = runBefore(kImage, 0.5);
    makeLarge(first);
    fs::copy_file(first / "prob.tif", second / "prob.tif", fs::copy_options::overwrite_existing);
    QElapsedTimer alone;
    alone.start();
    engine::loadRun(first);
    const qint64 needed = alone.elapsed();
    ASSERT_GT(needed, 100) << "too small a run to tell";
    window_->openImage(kImage);
    const auto shown = [&] { return values()["layers"].toObject().contains("probability"); };
    EXPECT_LT(longestGap(shown), 3 * needed / 4) << "while the newest run is read";
    still();
    EXPECT_EQ(gate_.count("load"), 1);
    auto* earlier = find<QMenu>("run.earlierMenu");
    const QString ticked = earlier->actions().first()->isChecked() ? "last" : "first";
    auto* other = ticked == "last" ? earlier->actions().last() : earlier->actions().first();
    other->trigger();
    EXPECT_EQ(find<QLabel>("status.busy")->text(), "Loading the run …");
    EXPECT_LT(longestGap([&] { return !window_->loading(); }), 3 * needed / 4)
        << "of an earlier one";
    EXPECT_EQ(find<QLabel>("status.busy")->text(), "");
    find<QMenu>("run.compareMenu")->actions().first()->trigger();
    EXPECT_LT(longestGap([&] { return !window_->loading(); }), 3 * needed / 4) << "of a comparison";
    ASSERT_NE(window_->findChild<QDialog*>("comparison.dialog"), nullptr);
    EXPECT_FALSE(gate_.saw(std::this_thread::get_id())) << "no such work in the window's thread";
}

TEST_F(UnblockedTest, LiveLayersAreFetchedElsewhereAndNeverComeLate) {
    open("synthetic:size=8192,seed=21");
    auto* models = find<QComboBox>("run.model");
    take(models, models->findText("scenes", Qt::MatchStartsWith));
    key(Qt::Key_R, Qt::ControlModifier);
    ASSERT_TRUE(QTest::qWaitFor(
        [&] { return values()["layers"].toObject().contains("prediction"); }, 60000));
    EXPECT_TRUE(window_->runs()->busy());
    // What the user sets meanwhile stays, although the next layers were begun before.
    gate_.hold("live.done");
    ASSERT_TRUE(QTest::qWaitFor([&] { return gate_.arrived(); }, 60000));
    window_->setLayer("prediction", {{"opacity", 0.9}});
    window_->setLayer("probability", {{"band", 3}, {"visible", true}});
    gate_.release();
    QTest::qWait(300);
    EXPECT_DOUBLE_EQ(layer("prediction")["opacity"].toDouble(), 0.9);
    EXPECT_EQ(layer("probability")["band"].toInt(), 3);
    const QString title = layer("probability")["title"].toString();
    // Held back until the run is over: the whole layers are not replaced by earlier ones.
    gate_.hold("live.done");
    ASSERT_TRUE(QTest::qWaitFor([&] { return gate_.arrived(); }, 60000))
        << "the run was over too soon";
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 120000));
    ASSERT_TRUE(settle());
    const auto whole = values()["layers"].toObject();
    gate_.release();
    QTest::qWait(300);
    EXPECT_EQ(values()["layers"].toObject(), whole);
    EXPECT_EQ(layer("probability")["title"].toString(), title);
    EXPECT_GT(gate_.count("live"), 2);
    EXPECT_FALSE(gate_.saw(std::this_thread::get_id()));
}

TEST_F(UnblockedTest, TheSummaryOfAFolderReadsNoRasters) {
    Job job;
    job.ended = true;
    job.request.image = "a.tif";
    job.outcome = test::runOf(test::sceneRequest(folder_.path() / "user/results", kImage));
    ASSERT_EQ(job.outcome.state, engine::RunState::Done);
    const auto run = engine::loadRun(job.outcome.folder);
    std::vector<double> covered(run.classNames.size());
    for (const auto& tile : run.tiles)
        covered[static_cast<size_t>(tile.best())] += tile.width * tile.height;
    const auto most = run.classNames[static_cast<size_t>(
        std::max_element(covered.begin(), covered.end()) - covered.begin())];
    for (const auto& entry : fs::directory_iterator(job.outcome.folder))
        if (entry.path().extension() == ".tif") fs::remove(entry.path());
    const fs::path csv = folder_.path() / "summary.csv";
    EXPECT_EQ(RunController::writeSummary({job}, csv), "");
    EXPECT_NE(test::textOf(csv).find("\"" + most + "\""), std::string::npos) << test::textOf(csv);
}

TEST_F(UnblockedTest, ThreadsThatHaveEndedAreLetGo) {
    Background work;
    int done = 0;
    for (int i = 0; i < 20; ++i)
        work.start("some", {}, [&](const std::stop_token&) { return [&] { ++done; }; }, {});
    ASSERT_TRUE(QTest::qWaitFor([&] { return done == 20; }, 10000));
    EXPECT_EQ(work.threads(), 0u);
    // What is forgotten says nothing, neither an answer nor an error; what throws is told.
    QString error;
    const auto fails = [](const std::stop_token&) -> Background::Then {
        throw std::runtime_error("broken");
    };
    const auto tell = [&](const QString& text) { error = text; };
    work.forget(work.start("fails", {}, fails, tell));
    work.forget(work.start(
        "some", {}, [&](const std::stop_token&) { return [&] { ++done; }; }, tell));
    ASSERT_TRUE(QTest::qWaitFor([&] { return work.threads() == 0; }, 10000));
    EXPECT_EQ(error, "");
    EXPECT_EQ(done, 20);
    work.start("fails", {}, fails, tell);
    ASSERT_TRUE(QTest::qWaitFor([&] { return work.threads() == 0; }, 10000));
    EXPECT_EQ(error, "broken");
    // An exception of what follows does not reach the event loop.
    QString problem;
    QObject::connect(&work, &Background::problem, [&](const QString& text) { problem = text; });
    work.start(
        "then", {},
        [](const std::stop_token&) -> Background::Then { return [] { std::vector<int>().at(3); }; },
        tell);
    ASSERT_TRUE(QTest::qWaitFor([&] { return work.threads() == 0; }, 10000));
    EXPECT_NE(problem, "");
}

TEST_F(UnblockedTest, TexturesThatNobodyTakesAreDeleted) {
    QOpenGLContext context;
    ASSERT_TRUE(context.create());
    QOffscreenSurface surface;
    surface.create();
    TextureUploader uploader;
    uploader.start(&context);
    if (!uploader.running()) GTEST_SKIP() << "SKIPPED: OpenGL here has no threads";
    auto tile = std::make_shared<io::RgbaImage>(256, 256);
    int taken = 0;
    uploader.upload(tile, [&](unsigned) { ++taken; });
    ASSERT_TRUE(QTest::qWaitFor([&] { return taken == 1; }, 10000));
    for (int i = 0; i < 5; ++i) uploader.upload(tile, [&](unsigned) { ++taken; });
    uploader.stop();  // they are made by then, and have not been handed over
    QTest::qWait(50);
    EXPECT_EQ(taken, 1);
    ASSERT_TRUE(context.makeCurrent(&surface));
    int left = 0;
    for (GLuint name = 1; name < 64; ++name) left += context.functions()->glIsTexture(name);
    EXPECT_EQ(left, 1) << "the one that was taken";
    context.doneCurrent();
}

/// As it comes from the window system, so that it may give the focus.
void wheel(QWidget* over, int notches) {
    QWidget* window = over->window();
    const QPoint at = over->mapTo(window, over->rect().center());
    for (int i = 0; i < std::abs(notches); ++i) {
        QWheelEvent event(at, window->mapToGlobal(at), {}, {0, notches > 0 ? 120 : -120},
                          Qt::NoButton, Qt::NoModifier, Qt::NoScrollPhase, false);
        QSpontaneKeyEvent::setSpontaneous(&event);
        qApp->notify(window->windowHandle(), &event);
    }
    QTest::qWait(30);
}

TEST_F(UnblockedTest, TheWheelChangesOnlyWhatHasTheFocus) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    window_->resize(1300, 560);  // so that the Layers panel is taller than its dock
    open(copyOf("geo/RGB.byte.tif"));
    pick(find<QListWidget>("layers.list"), 0);
    canvas()->setFocus();
    auto* red = find<QComboBox>("layers.channel0");
    auto* panel = find<QWidget>("layers.panel");
    auto* scroll = qobject_cast<QScrollArea*>(panel->parentWidget()->parentWidget());
    ASSERT_NE(scroll, nullptr);
    scroll->ensureWidgetVisible(red);
    QTest::qWait(30);
    ASSERT_GT(scroll->verticalScrollBar()->maximum(), 0);
    ASSERT_EQ(red->currentIndex(), 0);
    scroll->verticalScrollBar()->setValue(0);
    scroll->ensureWidgetVisible(red);
    const int before = scroll->verticalScrollBar()->value();
    const int way = before < scroll->verticalScrollBar()->maximum() ? -1 : 1;
    wheel(red, 2 * way);
    EXPECT_EQ(red->currentIndex(), 0);
    EXPECT_FALSE(red->hasFocus());
    EXPECT_NE(scroll->verticalScrollBar()->value(), before) << "the panel scrolls instead";
    // Every such control that can be seen stays as it is.
    int tried = 0;
    const auto unchanged = [&](auto* control, const auto& value) {
        if (!control->isVisible() || !control->isEnabled()) return;
        for (QWidget* around = control; around; around = around->parentWidget())
            if (auto* area = qobject_cast<QScrollArea*>(around)) area->ensureWidgetVisible(control);
        const QPoint at = control->mapTo(window_.get(), control->rect().center());
        QWidget* hit = window_->childAt(at);
        if (!hit || (hit != control && !control->isAncestorOf(hit))) return;
        const auto was = value(control);
        for (int notches : {2, -4}) wheel(control, notches);
        EXPECT_EQ(value(control), was) << control->objectName().toStdString();
        ++tried;
    };
    for (auto* box : window_->findChildren<QComboBox*>())
        unchanged(box, [](auto* b) { return b->currentIndex(); });
    for (auto* box : window_->findChildren<QDoubleSpinBox*>())
        unchanged(box, [](auto* b) { return b->value(); });
    for (auto* slider : window_->findChildren<QSlider*>())
        unchanged(slider, [](auto* s) { return s->value(); });
    EXPECT_GT(tried, 8);
    // With the focus it does what it did.
    scroll->ensureWidgetVisible(red);
    red->setFocus();
    wheel(red, -1);
    EXPECT_EQ(red->currentIndex(), 1);
}

TEST_F(UnblockedTest, TheDisplayNeverChangesAResult) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/hro_colorado.tif");
    const std::string path = copyOf("geo/hro_colorado.tif");
    open(path);
    const auto classify = [&] {
        auto* models = find<QComboBox>("run.model");
        take(models, models->findText("landuse", Qt::MatchStartsWith));
        key(Qt::Key_R, Qt::ControlModifier);
        ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 120000));
        ASSERT_TRUE(settle());
        still();
    };
    const auto runs = [&] { return engine::findRuns(folder_.path(), path); };
    const auto line = [&] { return find<QLabel>("run.inputLine")->text(); };
    classify();
    ASSERT_EQ(runs().size(), 1u) << window_->message().toStdString();
    EXPECT_EQ(line(), "Input: R=1 G=2 B=3, 8-bit values as they are");
    const auto probed = [&] {
        key(Qt::Key_T);
        QTest::mouseClick(
            canvas(), Qt::LeftButton, {},
            view(values()["width"].toDouble() / 2, values()["height"].toDouble() / 3));
        EXPECT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
        still();
        return values()["probe"].toObject();
    };
    const QJsonObject before = probed();
    EXPECT_FALSE(before.isEmpty()) << window_->message().toStdString();
    // Other bands, another stretch and another look on the screen: the same run, the same answers.
    pick(find<QListWidget>("layers.list"), 0);
    take(find<QComboBox>("layers.channel0"), 1);
    take(find<QComboBox>("layers.stretch"), 2);
    slide(find<QSlider>("adjust.brightness"), 130);
    still();
    EXPECT_EQ(line(), "Input: R=1 G=2 B=3, 8-bit values as they are");
    EXPECT_EQ(probed(), before);
    classify();
    EXPECT_EQ(runs().size(), 1u) << "it was there already";
    // What the user says in the Run panel counts, is shown before the run, and is another run.
    take(find<QComboBox>("run.input"), 1);
    type(find<QLineEdit>("run.inputBands"), "3,2,9");
    still();
    EXPECT_TRUE(line().contains("no band 9")) << line().toStdString();
    type(find<QLineEdit>("run.inputBands"), "3,2,1");
    type(find<QLineEdit>("run.inputStretch"), "0,200");
    still();
    EXPECT_EQ(line(), "Input: R=3 G=2 B=1, values 0 to 200, as given");
    classify();
    ASSERT_EQ(runs().size(), 2u) << window_->message().toStdString();
    EXPECT_NE(probed(), before) << "questions see what the run saw";
}

TEST_F(UnblockedTest, SharesAreAreaInLegendTableAndSummary) {
    // A border of 100 px beside contexts of 1024: slivers there are not worth a whole context.
    const char* image = "synthetic:size=4196,seed=21";
    const auto folder = runBefore(image);
    open(image);
    const auto summary = nlohmann::json::parse(test::textOf(folder / "summary.json"));
    const auto shares = layer("prediction")["shares"].toObject();
    QMap<QString, double> expected;
    for (const auto& entry : summary.at("classes"))
        if (const double share = entry.at("area_fraction").get<double>(); share > 0)
            expected[QString::fromStdString(entry.at("name").get<std::string>())] = share;
    ASSERT_GT(expected.size(), 1);
    ASSERT_EQ(shares.keys(), expected.keys());
    double all = 0;
    for (const auto& name : expected.keys()) {
        EXPECT_NEAR(shares[name].toDouble(), expected[name], 1e-9) << name.toStdString();
        all += expected[name];
    }
    EXPECT_NEAR(all, 1, 1e-9);
    // And they are those of the picture: a cell counts as far as it lies in the image.
    const auto run = engine::loadRun(folder);
    const auto& raster = run.layers.classes;
    std::map<int, double> covered;
    for (int y = 0; y < 4196; y += 4)
        for (int x = 0; x < 4196; x += 4) {
            int column = 0, row = 0;
            ASSERT_TRUE(raster.cellAt(x + 2, y + 2, column, row));
            covered[static_cast<int>(raster.at(0, column, row))] += 16;
        }
    for (const auto& [label, area] : covered)
        EXPECT_NEAR(expected[QString::fromStdString(run.classNames[static_cast<size_t>(label)])],
                    area / (4196.0 * 4196), 2e-3);
    key(Qt::Key_C);
    auto* table = find<QTableWidget>("contexts.areas");
    ASSERT_EQ(table->rowCount(), static_cast<int>(expected.size()));
    for (int row = 0; row < table->rowCount(); ++row)
        EXPECT_EQ(table->item(row, 3)->text(),
                  QString("%1 %").arg(100 * expected[table->item(row, 0)->text()], 0, 'f', 1));
}

TEST_F(UnblockedTest, ScaleBarAndMeasuresAreTheImagesOwn) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/boxes.tiff");
    open("synthetic:size=2048,seed=21");  // which says 0.5 m a pixel
    const QString own = values()["scaleBar"].toString();
    ASSERT_FALSE(own.isEmpty());
    key(Qt::Key_L);
    drag(canvas(), {view(200, 200), view(600, 200), view(1200, 200)});
    const auto measured = [&] { return values()["annotations"].toObject()["selected"].toString(); };
    const QString length = measured();
    ASSERT_TRUE(length.endsWith(" m")) << length.toStdString();
    type(find<QLineEdit>("run.resolution"), "0.25m");
    run();
    ASSERT_TRUE(values()["layers"].toObject().contains("prediction"))
        << window_->message().toStdString();
    EXPECT_EQ(values()["scaleBar"].toString(), own) << "whatever the run was told";
    EXPECT_EQ(measured(), length);
    // An image that does not say it: what the run was given serves, and is said to.
    open(copyOf("slides/boxes.tiff"));
    EXPECT_EQ(values()["scaleBar"].toString(), "");
    type(find<QLineEdit>("run.resolution"), "0.5um");
    key(Qt::Key_R, Qt::ControlModifier);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 60000));
    still();
    EXPECT_TRUE(values()["scaleBar"].toString().contains("as given for the run"))
        << values()["scaleBar"].toString().toStdString();
}

}  // namespace
}  // namespace atlas::ui
