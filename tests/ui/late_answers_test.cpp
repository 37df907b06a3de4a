// SPDX-License-Identifier: Apache-2.0
// What was asked of one image or run never appears on another; a run stays with its image. The
// answers are held back until the other image is there.
#include <QMessageBox>

#include "tests/support/by_hand_fixture.h"
#include "tests/support/pipeline_runs.h"
#include "ui/dialogs/models_page.h"

namespace atlas::ui {
namespace {

class LateAnswersTest : public ByHandTest {
  protected:
    static constexpr const char *kA = "synthetic:size=2048,seed=21",
                                *kB = "synthetic:size=3072,seed=4";

    /// Classifies an image before the window is asked to open it.
    void runBefore(const char* image, const char* model) {
        auto request = test::sceneRequest(folder_.path() / "user/results", image);
        request.modelDir = test::kModels / model;
        const auto outcome = test::runOf(request);
        ASSERT_EQ(outcome.state, engine::RunState::Done) << outcome.error;
    }
    void holdBack(const char* work) { gate_.hold(work); }
    void waitUntilHeld() {
        ASSERT_TRUE(QTest::qWaitFor([&] { return gate_.arrived(); }, 60000));
    }
    /// Lets the answers go, and gives them the time to come.
    void letGo() {
        gate_.release();
        EXPECT_TRUE(
            QTest::qWaitFor([&] { return window_->runs()->questionThreads() == 0; }, 60000));
        still();
        QTest::qWait(200);
        still();
    }
    QStringList layerNames() { return values()["layers"].toObject().keys(); }
    /// Titles too, since a measure writes into them.
    QJsonObject layersNow() { return values()["layers"].toObject(); }
};

TEST_F(LateAnswersTest, NoAnswerAboutOneImageAppearsOnAnother) {
    runBefore(kA, "scenes");
    runBefore(kB, "landuse");  // which has fewer scales: a title of the third would be an error
    open(kB);
    const QJsonObject plain = layersNow();
    ASSERT_TRUE(plain.contains("attention1"));
    const std::vector<std::pair<const char*, std::function<void()>>> questions{
        {"probe",
         [&] {
             key(Qt::Key_T);
             QTest::mouseClick(canvas(), Qt::LeftButton, {}, view(700, 700));
         }},
        {"what if", [&] { click("explorer.tryScaleOff"); }},
        {"contributions", [&] { click("explorer.contributions"); }},
        {"flow", [&] { click("explorer.flow"); }},
        {"occlusion", [&] { click("explorer.showSaliency"); }}};
    key(Qt::Key_E);
    raise("dock.explorer");
    for (const auto& [name, ask] : questions) {
        SCOPED_TRACE(name);
        open(kA);
        ASSERT_TRUE(layersNow().contains("attention2"));
        holdBack("question.done");
        ask();
        waitUntilHeld();
        EXPECT_TRUE(window_->probing());
        open(kB);
        EXPECT_FALSE(window_->probing()) << "nobody waits for the answer any more";
        letGo();
        EXPECT_EQ(layersNow(), plain);
        EXPECT_EQ(window_->message(), "");
        EXPECT_EQ(values()["explorer"].toObject(), QJsonObject());
        EXPECT_EQ(values()["probe"].toObject(), QJsonObject());
        EXPECT_FALSE(values()["inspector"].toString().contains("attends to"));
        EXPECT_FALSE(find<QTableWidget>("explorer.changes")->isVisible());
        EXPECT_EQ(find<QSlider>("explorer.depth")->maximum(), 0);
    }
    // And the other image's own network answers at once.
    key(Qt::Key_T);
    QTest::mouseClick(canvas(), Qt::LeftButton, {}, view(700, 700));
    ASSERT_TRUE(QTest::qWaitFor([&] { return layersNow().contains("probe0"); }, 60000))
        << window_->message().toStdString();
}

TEST_F(LateAnswersTest, AMeasureEndsWithItsImageAndMarksNoOther) {
    runBefore(kA, "scenes");
    runBefore(kB, "scenes");
    open(kB);
    const QJsonObject plain = layersNow();
    open(kA);
    key(Qt::Key_E);
    raise("dock.explorer");
    holdBack("question");
    click("explorer.measure");  // some hundred passes through the network, were it not withdrawn
    waitUntilHeld();
    EXPECT_TRUE(find<QPushButton>("explorer.stop")->isVisible());
    open(kB);
    EXPECT_FALSE(find<QPushButton>("explorer.stop")->isVisible());
    QElapsedTimer since;
    since.start();
    letGo();
    EXPECT_EQ(layersNow(), plain) << "no layer is marked as like random";
    EXPECT_EQ(window_->message(), "");
    EXPECT_EQ(find<QComboBox>("explorer.curve")->count(), 0);
    EXPECT_EQ(gate_.count("question.done"), 0) << "it was not measured to the end";
    // The network is free for this image.
    click("explorer.contributions");
    ASSERT_TRUE(QTest::qWaitFor([&] { return layersNow().contains("gives2"); }, 60000))
        << window_->message().toStdString();
}

TEST_F(LateAnswersTest, AnAnswerAboutOneRunDoesNotAppearOnAnother) {
    runBefore(kA, "landuse");
    QTest::qWait(1100);  // the newest is the one of the later second
    runBefore(kA, "scenes");
    open(kA);
    ASSERT_TRUE(layersNow().contains("attention2"));
    holdBack("question.done");
    key(Qt::Key_T);
    QTest::mouseClick(canvas(), Qt::LeftButton, {}, view(700, 700));
    waitUntilHeld();
    QMenu* earlier = find<QMenu>("run.earlierMenu");
    choose(*window_, earlier->actions().last());
    ASSERT_TRUE(settle());
    letGo();
    EXPECT_FALSE(layersNow().contains("attention2"));
    EXPECT_FALSE(layersNow().contains("probe0"));
    EXPECT_EQ(window_->message(), "");
    EXPECT_EQ(values()["probe"].toObject(), QJsonObject());
}

TEST_F(LateAnswersTest, MaskComparisonAndSwipeStayWithTheirImage) {
    runBefore(kA, "landuse");
    runBefore(kA, "scenes");
    const auto asked = [&](const char* work, const std::function<void()>& act) {
        open(kA);
        holdBack(work);
        act();
        waitUntilHeld();
        window_->openImage(kB);
        ASSERT_TRUE(QTest::qWaitFor([&] { return values()["image"] == QString(kB); }, 30000));
        letGo();
        EXPECT_EQ(layerNames(), QStringList()) << work;
        EXPECT_EQ(window_->message(), "") << work;
    };
    asked("mask.done", [&] { click("run.maskPreview"); });
    asked("compare.done",
          [&] { choose(*window_, find<QMenu>("run.compareMenu")->actions().first()); });
    EXPECT_EQ(window_->findChild<QDialog*>("comparison.dialog"), nullptr);
    asked("other.done", [&] { window_->views()->compare(CompareMode::Swipe, kA); });
    EXPECT_EQ(canvas()->compareMode(), CompareMode::Off);
    asked("load.done", [&] { choose(*window_, find<QMenu>("run.earlierMenu")->actions().last()); });
}

TEST_F(LateAnswersTest, OtherColoursOfTheOldImageDoNotKeepTheNewOneAway) {
    open(kA);
    holdBack("open.done");
    window_->openImage(kB);
    waitUntilHeld();
    pick(find<QListWidget>("layers.list"), 0);
    take(find<QComboBox>("layers.mapping"), 2);
    QTest::qWait(200);
    EXPECT_EQ(values()["image"].toString(), kA);
    letGo();
    EXPECT_EQ(values()["image"].toString(), kB);
    EXPECT_EQ(find<QComboBox>("layers.mapping")->currentIndex(), 0) << "its own colours";
}

TEST_F(LateAnswersTest, AModelThatNobodyWaitsForIsNotTriedOn) {
    open(kA);
    key(Qt::Key_M, Qt::ControlModifier);
    auto* page = find<ModelsPage>("models.dialog");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(page));
    holdBack("question.done");
    click("models.validate");
    waitUntilHeld();
    QTest::keyClick(page, Qt::Key_Escape);
    QTest::qWait(50);
    EXPECT_FALSE(window_->probing());
    letGo();
    EXPECT_EQ(window_->message(), "");
}

TEST_F(LateAnswersTest, ARunStaysWithItsImageAndComesBackWithIt) {
    const char* large = "synthetic:size=16384,seed=21";
    open(large);
    auto* models = find<QComboBox>("run.model");
    take(models, models->findText("scenes", Qt::MatchStartsWith));
    key(Qt::Key_R, Qt::ControlModifier);
    const auto state = [&] { return find<QLabel>("run.state")->text(); };
    const auto here = [&] { return window_->values()["layers"].toObject().contains("prediction"); };
    ASSERT_TRUE(QTest::qWaitFor([&] { return here() && state().contains("contexts"); }, 60000));
    window_->openImage(kB);
    ASSERT_TRUE(QTest::qWaitFor([&] { return values()["image"] == QString(kB); }, 30000));
    QTest::qWait(1000);
    ASSERT_TRUE(window_->runs()->busy()) << "too small an image for this test";
    EXPECT_EQ(layerNames(), QStringList());
    EXPECT_EQ(state(), "");
    EXPECT_FALSE(find<QProgressBar>("run.progress")->isVisible());
    EXPECT_TRUE(find<QPushButton>("run.start")->isEnabled());
    EXPECT_TRUE(find<QLabel>("run.elsewhere")->text().contains("contexts"));
    // Its own image again: what it has so far, and its progress.
    window_->openImage(large);
    ASSERT_TRUE(QTest::qWaitFor([&] { return here(); }, 30000));
    ASSERT_TRUE(window_->runs()->busy());
    EXPECT_TRUE(state().contains("contexts")) << state().toStdString();
    EXPECT_FALSE(find<QPushButton>("run.start")->isEnabled());
    EXPECT_FALSE(find<QLabel>("run.elsewhere")->isVisible());
    // It ends while the other image is shown.
    window_->openImage(kB);
    ASSERT_TRUE(QTest::qWaitFor([&] { return values()["image"] == QString(kB); }, 30000));
    click("run.cancel");
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 60000));
    still();
    EXPECT_EQ(layerNames(), QStringList());
    EXPECT_EQ(state(), "");
    EXPECT_EQ(window_->message(), "");
    open(large);
    EXPECT_TRUE(state().contains("cancelled")) << state().toStdString();
    EXPECT_TRUE(here()) << "what was done is shown";
}

TEST_F(LateAnswersTest, AFailureIsToldOverItsOwnImage) {
    open(kB);
    auto request = test::sceneRequest(folder_.path() / "user/results", kA);
    request.resolutionUm = 1e9;  // a context would be far larger than any image
    request.modelDir = folder_.path() / "no model here";
    window_->runs()->enqueue(request);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 30000));
    still();
    EXPECT_EQ(window_->message(), "");
    EXPECT_EQ(find<QLabel>("run.state")->text(), "");
    open(kA);
    EXPECT_TRUE(window_->message().contains("no model here")) << window_->message().toStdString();
    EXPECT_TRUE(find<QLabel>("run.state")->text().contains("failed"));
    key(Qt::Key_Escape);
    open(kB);
    open(kA);
    EXPECT_EQ(window_->message(), "") << "once is enough";
}

TEST_F(LateAnswersTest, TheFolderBeforeGivesNoThumbnailsAndKeepsNobodyWaiting) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    fs::create_directories(folder_.path() / "one");
    fs::create_directories(folder_.path() / "two");
    fs::copy_file(copyOf("geo/RGB.byte.tif"), folder_.path() / "one/a.tif");
    fs::copy_file(copyOf("geo/RGB.byte.tif"), folder_.path() / "two/b.tif");
    holdBack("thumbnails");
    pickFile([&] { choose(*window_, "file.openFolder"); }, inFolder("one"));
    waitUntilHeld();
    pickFile([&] { choose(*window_, "file.openFolder"); }, inFolder("two"));  // held it would hang
    EXPECT_EQ(values()["folder"].toObject().keys(), QStringList{"b.tif"});
    gate_.release();
    auto* list = find<QListWidget>("images.list");
    ASSERT_TRUE(QTest::qWaitFor(
        [&] {
            const QImage icon = list->item(0)->icon().pixmap(72, 72).toImage();
            return icon.pixelColor(icon.width() / 2, icon.height() / 2).alpha() > 0;
        },
        30000));
}

TEST(ModelLook, NamesScalesThatTheModelDoesNotHave) {
    ModelLook look;
    look.tokenSidesUm = {8};
    EXPECT_EQ(look.scaleTitle(0), "s0, 8 µm") << "micrometres of a slide";
    EXPECT_EQ(look.scaleTitle(7), "s7");
}

}  // namespace
}  // namespace atlas::ui
