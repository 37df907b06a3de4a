// SPDX-License-Identifier: Apache-2.0
// Rotation, swipe and lens, linked views, layers' order and blending, bands, profiles, bookmarks,
// projects, sessions, gallery and flow: in the window, by what is drawn or written.
#include <sys/wait.h>
#include <unistd.h>

#include <QColorSpace>
#include <QColorTransform>
#include <QMessageBox>
#include <QScrollBar>
#include <QSpinBox>
#include <QTimer>

#include "io/stain_vectors.h"
#include "tests/support/torchscript_model.h"
#include "tests/support/window_fixture.h"
#include "ui/project/session.h"
#include "ui/views/view_grid.h"

namespace atlas::ui {
namespace {

class ViewsTest : public WindowTest {
  protected:
    static constexpr const char* kScene = "synthetic:size=4096,seed=21";
    void run() {
        ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
        window_->startRun();
        ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 120000));
        ASSERT_TRUE(settle());
        QTest::qWait(100);
    }
    void still() {
        QTest::qWait(60);
        ASSERT_TRUE(settle());
    }
    Canvas* canvas() { return window_->canvas(); }
};

TEST_F(ViewsTest, TurnsToAnyAngle) {
    open(kScene);
    window_->findChild<QWidget*>("viewer.canvas")->setFocus();
    canvas()->goTo({1500, 900}, 0.5);
    still();
    const QImage before = drawn();
    const QPointF points[] = {{1500, 900}, {1380, 850}, {1650, 1010}, {1500, 1100}};
    std::vector<QColor> colors;
    for (const auto& p : points) colors.push_back(at(before, p.x(), p.y()));
    QTest::keyClick(window_.get(), Qt::Key_BracketRight, Qt::ControlModifier);
    QTest::keyClick(window_.get(), Qt::Key_BracketRight, Qt::ControlModifier);
    still();
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 30);
    window_->views()->rotateTo(90);
    still();
    const QImage turned = drawn();
    for (size_t i = 0; i < std::size(points); ++i)  // a quarter: pixels stay pixels
        EXPECT_LE(difference(colors[i], at(turned, points[i].x(), points[i].y())), 30) << i;
    // Right in the image is down on the screen.
    EXPECT_GT(canvas()->transform().viewFromImage(QPointF(1600, 900)).y(),
              canvas()->transform().viewFromImage(QPointF(1500, 900)).y() + 20);
    // What is dragged stays under the pointer.
    canvas()->setRotation(37);
    const QPoint from(300, 200), to(420, 310);
    const QPointF held = canvas()->transform().imageFromView(from);
    QTest::mousePress(canvas(), Qt::LeftButton, {}, from);
    QTest::mouseMove(canvas(), to);
    QTest::mouseRelease(canvas(), Qt::LeftButton, {}, to);
    const QPointF now = canvas()->transform().imageFromView(to);
    EXPECT_NEAR(now.x(), held.x(), 1e-6);
    EXPECT_NEAR(now.y(), held.y(), 1e-6);
    QWheelEvent wheel(QPointF(200, 200), canvas()->mapToGlobal(QPointF(200, 200)), {}, {0, 120},
                      Qt::NoButton, Qt::ControlModifier | Qt::ShiftModifier, Qt::NoScrollPhase,
                      false);
    QApplication::sendEvent(canvas(), &wheel);
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 42);
    window_->actionNamed("view.rotateReset")->trigger();
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 0);
}

TEST_F(ViewsTest, UploadsTilesOutsideTheGuiThreadWhereOpenGlCan) {
    open(kScene);
    EXPECT_EQ(canvas()->uploadsInThread(), QOpenGLContext::supportsThreadedOpenGL());
    EXPECT_GT(canvas()->textureBytes(), 0);
    // An image that goes while its tiles are on their way leaves nothing behind.
    for (int i = 0; i < 5; ++i) {
        window_->openImage(QString("synthetic:size=8192,seed=%1").arg(40 + i));
        QTest::qWait(15 * i);
    }
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["image"].toString(), "synthetic:size=8192,seed=44");
    still();
    EXPECT_GT(drawn().pixelColor(canvas()->width() / 2, canvas()->height() / 2).lightness(), 40);
}

TEST_F(ViewsTest, SpaceAndDragPansWithEveryTool) {
    open(kScene);
    canvas()->goTo({2000, 2000}, 0.5);
    canvas()->setFocus();
    window_->actionNamed("tool.rectangle")->trigger();
    const QPoint from(300, 200), to(380, 260);
    QTest::keyPress(canvas(), Qt::Key_Space);
    QTest::mousePress(canvas(), Qt::LeftButton, {}, from);
    QTest::mouseMove(canvas(), to);
    QTest::mouseRelease(canvas(), Qt::LeftButton, {}, to);
    QTest::keyRelease(canvas(), Qt::Key_Space);
    EXPECT_EQ(canvas()->transform().centre(), QPointF(2000 - 160, 2000 - 120));
    EXPECT_TRUE(canvas()->region().isEmpty());
    QTest::mousePress(canvas(), Qt::LeftButton, {}, from);
    QTest::mouseMove(canvas(), to);
    QTest::mouseRelease(canvas(), Qt::LeftButton, {}, to);
    EXPECT_FALSE(canvas()->region().isEmpty());
}

TEST_F(ViewsTest, SwipeAndLensTakeTheLayerAway) {
    open(kScene);
    const QImage alone = drawn();
    run();
    window_->setLayer("prediction", {{"opacity", 1.0}});
    still();
    const QImage covered = drawn();
    const QPointF left(600, 1600), right(3500, 1600);
    ASSERT_GT(difference(at(alone, right.x(), right.y()), at(covered, right.x(), right.y())), 8);
    window_->actionNamed("view.swipe")->trigger();
    still();
    EXPECT_LE(difference(at(drawn(), left.x(), left.y()), at(covered, left.x(), left.y())), 2);
    EXPECT_LE(difference(at(drawn(), right.x(), right.y()), at(alone, right.x(), right.y())), 2);
    // The line is taken by the mouse.
    const int y = canvas()->height() / 2, x = canvas()->width() / 2;
    QTest::mousePress(canvas(), Qt::LeftButton, {}, QPoint(x, y));
    QTest::mouseMove(canvas(), QPoint(x / 8, y));
    QTest::mouseRelease(canvas(), Qt::LeftButton, {}, QPoint(x / 8, y));
    EXPECT_NEAR(canvas()->swipe(), 1 / 16.0, 0.01);
    still();
    EXPECT_LE(difference(at(drawn(), left.x(), left.y()), at(alone, left.x(), left.y())), 2);
    window_->actionNamed("view.lens")->trigger();
    const QPoint eye = canvas()->transform().viewFromImage(right).toPoint();
    QTest::mouseMove(canvas(), eye);
    still();
    EXPECT_LE(difference(at(drawn(), right.x(), right.y()), at(alone, right.x(), right.y())), 2);
    EXPECT_LE(difference(at(drawn(), left.x(), left.y()), at(covered, left.x(), left.y())), 2);
    window_->actionNamed("view.compareOff")->trigger();
    still();
    EXPECT_LE(difference(at(drawn(), right.x(), right.y()), at(covered, right.x(), right.y())), 2);
}

TEST_F(ViewsTest, SwipesAgainstAnotherImage) {
    open("synthetic:size=4096,seed=5");
    const QImage other = drawn();
    open(kScene);
    const QImage mine = drawn();
    window_->views()->compare(CompareMode::Swipe, "synthetic:size=4096,seed=5");
    ASSERT_TRUE(settle());
    still();
    EXPECT_TRUE(window_->message().contains("length")) << window_->message().toStdString();
    window_->clearMessage();  // its bar makes the view smaller
    still();
    const QImage both = drawn();
    for (int x : {300, 900, 1700}) {
        EXPECT_LE(difference(at(both, x, 2000), at(mine, x, 2000)), 2) << x;
        EXPECT_LE(difference(at(both, x + 2100, 2000), at(other, x + 2100, 2000)), 2) << x;
    }
    window_->views()->compare(CompareMode::Swipe, "synthetic:size=none");
    ASSERT_TRUE(settle());
    EXPECT_FALSE(window_->message().isEmpty());
}

TEST_F(ViewsTest, LinkedViewsMoveTogether) {
    open(kScene);
    run();
    window_->actionNamed("view.views2")->trigger();
    still();
    auto* grid = window_->views()->grid();
    ASSERT_EQ(grid->sides().size(), 1u);
    SideView* side = grid->sides()[0];
    side->chooseLayer("attention0");
    canvas()->goTo({1200, 700}, 0.4);
    canvas()->setRotation(25);
    EXPECT_NEAR(side->canvas()->transform().centre().x(), 1200, 1e-6);
    EXPECT_NEAR(side->canvas()->transform().scale(), 0.4, 1e-9);
    EXPECT_DOUBLE_EQ(side->canvas()->transform().rotation(), 25);
    // From the other side too, by its mouse.
    QTest::mousePress(side->canvas(), Qt::LeftButton, {}, QPoint(150, 150));
    QTest::mouseMove(side->canvas(), QPoint(180, 190));
    QTest::mouseRelease(side->canvas(), Qt::LeftButton, {}, QPoint(180, 190));
    EXPECT_NE(canvas()->transform().centre(), QPointF(1200, 700));
    EXPECT_NEAR(canvas()->transform().centre().x(), side->canvas()->transform().centre().x(), 1e-6);
    still();
    // The side shows attention, the main view the prediction.
    EXPECT_GT(difference(side->canvas()->grabFramebuffer().pixelColor(60, 120),
                         drawn().pixelColor(60, 120)),
              10);
    window_->actionNamed("view.link")->trigger();
    const QPointF there = side->canvas()->transform().centre();
    canvas()->goTo({3000, 3000}, 0.4);
    EXPECT_EQ(side->canvas()->transform().centre(), there);
    window_->actionNamed("view.link")->trigger();
    // Another image, half as large a pixel: the same ground.
    window_->views()->openInSide(side, "synthetic:size=2048,seed=3");
    ASSERT_TRUE(settle());
    EXPECT_TRUE(side->showsOther());
    EXPECT_FALSE(side->link().by.isEmpty());
    window_->views()->setCount(4);
    still();
    EXPECT_EQ(values()["views"].toInt(), 4);
    window_->views()->setCount(1);
    EXPECT_EQ(values()["views"].toInt(), 1);
}

TEST(ViewLink, FindsPlacesByMapCoordinatesLengthOrShare) {
    io::ImageInfo a, b;
    a.levels = {{1000, 800}};
    b.levels = {{500, 500}};
    auto link = ViewLink::between(a, b);
    EXPECT_EQ(link.toOther({1000, 800}), QPointF(500, 500));
    a.resolution = io::Resolution{0.5, 0.5, false, "test"};
    b.resolution = io::Resolution{2, 1, false, "test"};
    link = ViewLink::between(a, b);
    EXPECT_EQ(link.toOther({400, 100}), QPointF(100, 50));
    a.georeference = io::GeoReference{{500000, 10, 0, 4000000, 0, -10}, "EPSG:32618", {}, false};
    b.georeference = io::GeoReference{{500100, 20, 0, 3999900, 0, -20}, "EPSG:32618", {}, false};
    link = ViewLink::between(a, b);
    EXPECT_EQ(link.toOther({10, 10}), QPointF(0, 0));
    EXPECT_EQ(link.toOther({30, 14}), QPointF(10, 2));
    const QPointF back = link.inverse().toOther(link.toOther({123, 45}));
    EXPECT_NEAR(back.x(), 123, 1e-9);
    EXPECT_NEAR(back.y(), 45, 1e-9);
    ViewTransform from, to;
    from.setImageSize({1000, 800});
    from.setViewSize({400, 300});
    to.setImageSize({500, 500});
    to.setViewSize({400, 300});
    from.goTo({30, 14}, 2);
    from.setRotation(10);
    link.apply(from, to);
    EXPECT_EQ(to.centre(), QPointF(10, 2));
    EXPECT_DOUBLE_EQ(to.scale(), 4);
    EXPECT_DOUBLE_EQ(to.rotation(), 10);
    b.georeference->crsName = "EPSG:32619";
    EXPECT_NE(ViewLink::between(a, b).by, link.by);
}

TEST_F(ViewsTest, LayersHaveOrderBlendAndRange) {
    open(kScene);
    const QColor bare = at(drawn(), 3500, 3000);
    run();
    window_->setLayer("prediction", {{"opacity", 1.0}});
    still();
    const QColor color = at(drawn(), 3500, 3000);
    window_->setLayer("prediction", {{"blend", "multiply"}, {"opacity", 0.5}});
    still();
    const QColor product = at(drawn(), 3500, 3000);
    EXPECT_NEAR(product.red(), bare.red() * (0.5 + 0.5 * color.redF()), 3);
    EXPECT_NEAR(product.green(), bare.green() * (0.5 + 0.5 * color.greenF()), 3);
    window_->setLayer("prediction", {{"blend", "add"}, {"opacity", 0.3}});
    still();
    EXPECT_NEAR(at(drawn(), 3500, 3000).green(),
                std::min(255.0, bare.green() + 0.3 * color.green()), 3);
    // The layer on top covers the other one.
    window_->setLayer("prediction", {{"blend", "normal"}, {"opacity", 1.0}});
    window_->setLayer("probability", {{"visible", true}, {"opacity", 1.0}});
    still();
    EXPECT_GT(difference(at(drawn(), 3500, 3000), color), 10);
    auto* list = window_->findChild<QListWidget*>("layers.list");
    ASSERT_EQ(list->item(1)->data(Qt::UserRole).toString(), "prediction");
    list->setCurrentRow(1);
    QTest::mouseClick(window_->findChild<QPushButton*>("layers.up"), Qt::LeftButton);
    still();
    EXPECT_EQ(list->item(2)->data(Qt::UserRole).toString(), "prediction");
    EXPECT_LE(difference(at(drawn(), 3500, 3000), color), 2);
    EXPECT_EQ(list->currentRow(), 2);
    // Raw and percentile ranges of an attention map, through the control.
    list->setCurrentRow(3);
    auto* scaling = window_->findChild<QComboBox*>("layers.scaling");
    EXPECT_EQ(scaling->currentIndex(), 0);
    window_->setLayer("attention0", {{"visible", true}, {"opacity", 1.0}, {"move", 10}});
    still();
    const QImage percentile = drawn();
    scaling->setCurrentIndex(1);
    Q_EMIT scaling->activated(1);
    still();
    EXPECT_GT(difference(at(percentile, 3500, 3000), at(drawn(), 3500, 3000)), 3);
}

TEST_F(ViewsTest, LayersEndWhereTheImageEnds) {
    open("synthetic:size=1500,seed=21");  // one context and a half: the second reaches beyond
    const QImage alone = drawn();
    run();
    window_->setLayer("prediction", {{"opacity", 1.0}});
    window_->setLayer("attention2", {{"visible", true}, {"opacity", 1.0}});
    still();
    const QImage covered = drawn();
    EXPECT_GT(difference(at(alone, 1490, 700), at(covered, 1490, 700)), 8);
    for (double y : {200.0, 700.0, 1200.0})
        EXPECT_EQ(at(alone, 1520, y), at(covered, 1520, y)) << y;
}

TEST_F(ViewsTest, ShowsAnIndexAndAStretchOfTheView) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/LE7_stack_8band_int16.tif");
    const std::string path = copyOf("geo/LE7_stack_8band_int16.tif");
    open(path);
    auto* mapping = window_->findChild<QComboBox*>("layers.mapping");
    mapping->setCurrentIndex(3);
    Q_EMIT mapping->activated(3);
    ASSERT_TRUE(settle());
    still();
    for (int c : {0, 1}) {
        auto* band = window_->findChild<QComboBox*>(QString("layers.channel%1").arg(c));
        EXPECT_TRUE(band->isVisibleTo(window_.get())) << c;
        band->setCurrentIndex(c == 0 ? 3 : 2);
        Q_EMIT band->activated(c == 0 ? 3 : 2);
        ASSERT_TRUE(settle());
    }
    EXPECT_FALSE(
        window_->findChild<QComboBox*>("layers.channel2")->isVisibleTo(window_->centralWidget()));
    still();
    const auto source = io::openImage(path);
    const auto& full = source->info().levels[0];
    const int64_t x = full.width / 2, y = full.height / 2;
    window_->canvas()->goTo({static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5}, 20);
    still();
    const auto block = source->readRegion(0, {x, y, 1, 1}, {3, 2});
    const double a = block.sample(0, 0, 0), b = block.sample(0, 0, 1);
    const auto wanted = io::indexColor(((a - b) / (a + b) + 1) / 2);
    EXPECT_LE(difference(at(drawn(), static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5),
                         QColor(wanted[0], wanted[1], wanted[2])),
              3);
    // The network is asked about the image's own bands all the same.
    ASSERT_TRUE(window_->runPanel()->chooseModel("landuse"));
    window_->findChild<QLineEdit*>("run.resolution")->setText("0.3m");
    window_->startRun();
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 120000));
    ASSERT_TRUE(settle());
    const double answer = values()["pointer"].toObject()["probability"].toDouble();
    QTest::mouseMove(canvas(), canvas()->rect().center());
    window_->whatIf({engine::WhatIf::Change::Blur, 0, {x - 20, y - 20, 8, 8}, {}});
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
    QTest::qWait(50);
    const auto before = values()["explorer"].toObject()["before"].toArray();
    ASSERT_FALSE(before.isEmpty()) << window_->message().toStdString();
    double best = 0;
    for (const auto& p : before) best = std::max(best, p.toDouble());
    const auto source2 = io::openImage(path);
    const io::ColorSource plain(source2, io::defaultDisplay(source2->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    const auto network =
        engine::Classifier::open(kModels / "landuse", {.device = "cpu", .cache = {}});
    engine::RunRequest request;
    request.image = path;
    request.resolutionUm = 300000;
    const auto direct = engine::whatIf(
        plain, *network, request, {engine::WhatIf::Change::Blur, 0, {x - 20, y - 20, 8, 8}, {}},
        static_cast<double>(x - 16), static_cast<double>(y - 16));
    EXPECT_NEAR(best, *std::max_element(direct.before.begin(), direct.before.end()), 1e-4);
    EXPECT_GE(answer, 0);
    // A stretch of what is seen spreads the colours of a small place.
    auto* stretch = window_->findChild<QComboBox*>("layers.stretch");
    stretch->setCurrentIndex(stretch->count() - 1);
    Q_EMIT stretch->activated(stretch->count() - 1);
    ASSERT_TRUE(settle());
    still();
    EXPECT_EQ(stretch->currentIndex(), stretch->count() - 1);
    EXPECT_GT(canvas()->transform().scale(), 19);  // the view stays
}

TEST_F(ViewsTest, AppliesTheColourProfile) {
    // Half green in Adobe RGB is another colour in sRGB.
    QImage picture(64, 64, QImage::Format_RGB888);
    picture.fill(QColor(60, 160, 90));
    picture.setColorSpace(QColorSpace(QColorSpace::AdobeRgb));
    const QString path = QString::fromStdString((folder_.path() / "adobe.png").string());
    ASSERT_TRUE(picture.save(path));
    open(path.toStdString());
    const QColor expected = picture.colorSpace()
                                .transformationToColorSpace(QColorSpace(QColorSpace::SRgb))
                                .map(QColor(60, 160, 90));
    EXPECT_GT(difference(expected, QColor(60, 160, 90)), 10);
    EXPECT_LE(difference(at(drawn(), 32, 32), expected), 3);
    window_->actionNamed("view.profile")->trigger();
    still();
    EXPECT_LE(difference(at(drawn(), 32, 32), QColor(60, 160, 90)), 1);
    EXPECT_TRUE(profileTable("no profile").empty());
}

TEST_F(ViewsTest, SavesTheViewAsPictureAndAsDrawing) {
    open(kScene);
    run();
    const QString png = QString::fromStdString((folder_.path() / "view.png").string()),
                  svg = QString::fromStdString((folder_.path() / "view.svg").string());
    ASSERT_TRUE(window_->saveView(png));
    EXPECT_EQ(QImage(png).size(), drawn().size());
    ASSERT_TRUE(window_->saveView(svg));
    QFile file(svg);
    ASSERT_TRUE(file.open(QIODevice::ReadOnly));
    const QString text = QString::fromUtf8(file.readAll());
    EXPECT_TRUE(text.contains("<image"));
    EXPECT_TRUE(text.contains("prediction")) << "the legend is text";
    EXPECT_TRUE(text.contains("500 m") || text.contains("200 m")) << "so is the scale bar";
    EXPECT_FALSE(window_->saveView("/nowhere/view.svg"));
    EXPECT_TRUE(window_->message().contains("/nowhere/view.svg"));
}

TEST_F(ViewsTest, BookmarksComeBackWithTheImage) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const std::string path = copyOf("geo/RGB.byte.tif");
    open(path);
    canvas()->goTo({300, 200}, 2);
    canvas()->setRotation(45);
    window_->views()->addBookmark("the river");
    canvas()->fit();
    open(kScene);
    EXPECT_EQ(values()["bookmarks"].toInt(), 0);
    open(path);
    ASSERT_EQ(values()["bookmarks"].toInt(), 1);
    window_->views()->goToBookmark(0);
    EXPECT_EQ(canvas()->transform().centre(), QPointF(300, 200));
    EXPECT_DOUBLE_EQ(canvas()->transform().rotation(), 45);
    EXPECT_EQ(window_->views()->bookmarks().all()[0].name, "the river");
    window_->views()->bookmarks().rename(0, "delta");
    Bookmarks again;
    again.open(QString::fromStdString(path + ".bookmarks.json"));
    EXPECT_EQ(again.all().at(0).name, "delta");
    std::ofstream(path + ".bookmarks.json") << "{broken";
    EXPECT_THROW(again.open(QString::fromStdString(path + ".bookmarks.json")), std::runtime_error);
}

TEST_F(ViewsTest, AProjectKeepsImagesRunsAndAnnotations) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const std::string path = copyOf("geo/RGB.byte.tif");
    const QString folder = QString::fromStdString((folder_.path() / "project").string());
    open(path);
    window_->newProject(folder);
    EXPECT_EQ(values()["project"].toString(), folder);
    EXPECT_EQ(values()["folder"].toObject().keys(), QStringList{"RGB.byte.tif"});
    window_->openImage(QString::fromStdString(path));
    ASSERT_TRUE(settle());
    // What is dropped belongs to it.
    const std::string dropped = copyOf("geo/float_nan.tif");
    Q_EMIT canvas()->filesDropped({QString::fromStdString(dropped)});
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["folder"].toObject().keys().size(), 2);
    window_->openImage(QString::fromStdString(path));
    ASSERT_TRUE(settle());
    canvas()->setRegion({10, 10, 50, 50});
    window_->keepRegion();
    EXPECT_TRUE(QFile::exists(folder + "/runs/RGB.byte.tif.annotations.geojson"));
    window_->newProject(folder);  // there is one already
    EXPECT_TRUE(window_->message().contains("already")) << window_->message().toStdString();
    const auto project = Project::open(folder);
    ASSERT_EQ(project.images().size(), 2);
    EXPECT_EQ(project.images()[0], QString::fromStdString(path));
    std::ofstream((folder + "/atlasscope-project.json").toStdString()) << "[]";
    EXPECT_THROW(Project::open(folder), std::runtime_error);
}

TEST_F(ViewsTest, WhatWasOpenIsThereAgainAfterACrash) {
    const QString sessions = QString::fromStdString((folder_.path() / "user/sessions").string());
    const QJsonObject state{
        {"image", kScene},
        {"view", QJsonObject{{"x", 1000}, {"y", 500}, {"scale", 0.5}, {"rotation", 90}}},
        {"views", 2}};
    const pid_t child = fork();
    if (child == 0) {  // a window that dies without a word
        auto* session = new Session(sessions);
        session->keep(state);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(Session(sessions).last().isEmpty());
    ASSERT_TRUE(window_->restoreCrashed());
    ASSERT_TRUE(settle());
    QTest::qWait(100);
    EXPECT_EQ(values()["image"].toString(), kScene);
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 90);
    EXPECT_EQ(canvas()->transform().centre(), QPointF(1000, 500));
    EXPECT_EQ(values()["views"].toInt(), 2);
    EXPECT_TRUE(window_->message().contains("without notice"));
    // One whose image is gone leaves nothing behind for the next image.
    window_->openImage("/nowhere/gone.tif");
    ASSERT_TRUE(settle());
    EXPECT_TRUE(window_->message().contains("gone.tif"));
    EXPECT_FALSE(window_->restoreCrashed()) << "once is enough";
    // A window that is still there is no crash; one that was closed is the last session.
    Session alive(sessions), other(sessions);
    alive.keep(state);
    EXPECT_TRUE(other.takeCrashed().isEmpty());
    alive.end();
    EXPECT_EQ(other.last(), state);
}

TEST_F(ViewsTest, TheGalleryShowsWhatIsCertainAndWhatIsNot) {
    open(kScene);
    run();
    window_->actionNamed("view.contexts")->trigger();
    auto* gallery = window_->findChild<Gallery*>("gallery.panel");
    window_->findChild<QTabWidget*>("contexts.tabs")->setCurrentWidget(gallery);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !gallery->loading(); }, 20000));
    auto* list = window_->findChild<QListWidget*>("gallery.list");
    ASSERT_EQ(list->count(), 16);
    const auto certainty = [&](int row) {
        return list->item(row)->text().section(' ', 0, 0).toInt();
    };
    for (int i = 1; i < list->count(); ++i) EXPECT_GE(certainty(i), certainty(i - 1));
    EXPECT_FALSE(list->item(0)->icon().pixmap(96, 96).toImage().isNull());
    const QImage first = list->item(0)->icon().pixmap(96, 96).toImage();
    EXPECT_GT(first.pixelColor(40, 40).alpha(), 0) << "a picture of the context";
    gallery->setOrder(Gallery::Order::MostCertain);
    for (int i = 1; i < list->count(); ++i) EXPECT_LE(certainty(i), certainty(i - 1));
    canvas()->fit();
    list->setCurrentRow(3);
    still();
    EXPECT_GT(canvas()->transform().scale(), canvas()->transform().fitScale());
    gallery->setOrder(Gallery::Order::Disagreeing);
    EXPECT_LT(list->count(), 16);  // those whose neighbours all agree are left out
    auto* chart = dynamic_cast<StackedHistogram*>(window_->findChild<QWidget*>("charts.histogram"));
    ASSERT_NE(chart, nullptr);
    const auto total = [&] {
        int sum = 0;
        for (const auto& bin : chart->counts()) sum = std::accumulate(bin.begin(), bin.end(), sum);
        return sum;
    };
    auto* what = window_->findChild<QComboBox*>("charts.what");
    EXPECT_EQ(what->count(), 1 + 10 + 3);
    for (int i = 0; i < what->count(); ++i) {
        what->setCurrentIndex(i);
        EXPECT_EQ(total(), 16) << i;
    }
}

TEST_F(ViewsTest, FollowsAttentionBackThroughTheDepth) {
    open(kScene);
    run();
    window_->actionNamed("view.explore")->trigger();
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.flow"), Qt::LeftButton);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
    still();
    auto* depth = window_->findChild<QSlider*>("explorer.depth");
    auto* text = window_->findChild<QLabel*>("explorer.depthText");
    ASSERT_GT(depth->maximum(), 2);
    EXPECT_TRUE(text->text().contains("input"));
    const auto share = [&](const char* name) {
        return values()["explorer"].toObject()[name].toDouble();
    };
    EXPECT_NEAR(share("flow0"), 1, 1e-3);
    EXPECT_TRUE(values()["layers"].toObject().contains("flow0"));
    for (int d = 1; d <= depth->maximum(); ++d) {
        QTest::keyClick(depth, Qt::Key_Right);
        EXPECT_EQ(depth->value(), d);
        EXPECT_NEAR(share("flow"), 1, 1e-3) << d;
    }
    EXPECT_TRUE(text->text().contains("readout"));
}

TEST_F(ViewsTest, ABrushedShapeIsWhatIsBlurred) {
    open(kScene);
    run();
    window_->actionNamed("view.explore")->trigger();
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.blur"), Qt::LeftButton);
    EXPECT_TRUE(window_->message().contains("annotation")) << window_->message().toStdString();
    Annotation a;
    a.points = QPolygonF({{1100, 1100}, {1700, 1100}, {1100, 1700}});
    window_->annotations()->add(a);
    window_->annotations()->select(a.id);
    window_->findChild<QPushButton*>("explorer.blur")->click();
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
    QTest::qWait(50);
    EXPECT_TRUE(values()["explorer"].toObject()["change"].toString().contains("drawn shape"))
        << values()["explorer"].toObject()["change"].toString().toStdString();
}

TEST_F(ViewsTest, AnnotationsGoToGisFilesAndBack) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    open(copyOf("geo/RGB.byte.tif"));
    Annotation a;
    a.points = QPolygonF({{100, 100}, {300, 100}, {300, 250}});
    a.className = "Field";
    window_->annotations()->setClass("Field", Qt::red);
    window_->annotations()->add(a);
    const QString path = QString::fromStdString((folder_.path() / "fields.gpkg").string());
    window_->exportAnnotations(path);
    ASSERT_TRUE(QFile::exists(path)) << window_->message().toStdString();
    window_->annotations()->remove(a.id);
    window_->importAnnotations(path);
    ASSERT_EQ(window_->annotations()->all().size(), 1u) << window_->message().toStdString();
    EXPECT_NEAR(window_->annotations()->all()[0].area(), 15000, 0.01);
    open(kScene);  // no map coordinates known to GIS programs are needed for GeoJSON alone
    window_->importAnnotations(path + ".none.gpkg");
    EXPECT_FALSE(window_->message().isEmpty());
}

TEST_F(ViewsTest, SettingsHoldAtOnce) {
    open(kScene);
    window_->actionNamed("view.settings")->trigger();
    auto* textures = window_->findChild<QSpinBox*>("settings.textures");
    ASSERT_NE(textures, nullptr);
    textures->setValue(128);
    EXPECT_EQ(canvas()->textureBudget(), qint64{128} << 20);
    EXPECT_EQ(ViewerSettings::load().texturesMiB, 128);
    textures->setValue(384);
}

TEST_F(ViewsTest, StainColoursAreEstimatedFromTheSlide) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    open(copyOf("slides/CMU-1-Small-Region.svs"));
    auto* adjuster = window_->findChild<ImageAdjuster*>("adjust.panel");
    const auto usual = adjuster->look().stains.vectors;
    auto* vectors = window_->findChild<QComboBox*>("adjust.vectors");
    vectors->setCurrentIndex(1);
    Q_EMIT vectors->activated(1);
    const auto found = adjuster->look().stains.vectors;
    EXPECT_NE(found, usual);
    // Hematoxylin and eosin of this slide are not far from the usual ones.
    for (size_t s = 0; s < 2; ++s) {
        double cosine = 0;
        for (size_t c = 0; c < 3; ++c) cosine += found[s][c] * usual[s][c];
        EXPECT_GT(cosine, 0.9) << s;
    }
    EXPECT_TRUE(adjuster->setVectors("0.6 0.7 0.3 / 0.2 0.8 0.5"));
    EXPECT_FALSE(adjuster->setVectors("0.6 0.7 0.3 / 0.6 0.7 0.3"));
    EXPECT_FALSE(adjuster->setVectors("two"));
}

TEST_F(ViewsTest, AsksBeforeItRunsAnExportedModel) {
    open("synthetic:size=1024,seed=21");
    const auto dir = test::writeTorchScript(folder_.path() / "exported");
    window_->runPanel()->setModels({dir});
    QString asked;
    const auto answer = [&](const char* button) {
        QTimer::singleShot(200, window_.get(), [this, button, &asked] {
            auto* dialog = window_->findChild<QMessageBox*>("trust.dialog");
            ASSERT_NE(dialog, nullptr);
            asked = dialog->informativeText();
            QTest::mouseClick(dialog->findChild<QPushButton*>(button), Qt::LeftButton);
        });
        window_->startRun();
    };
    answer("trust.no");
    EXPECT_TRUE(window_->message().contains("not trusted")) << window_->message().toStdString();
    EXPECT_FALSE(window_->runs()->busy());
    EXPECT_TRUE(asked.contains("SHA-256")) << asked.toStdString();
    answer("trust.yes");
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 60000));
    ASSERT_TRUE(settle());
    EXPECT_TRUE(values()["layers"].toObject().contains("prediction"))
        << window_->message().toStdString();
    EXPECT_FALSE(values()["layers"].toObject().contains("attention0"));
    window_->startRun();  // remembered: nobody is asked
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 60000));
    window_->actionNamed("view.explore")->trigger();  // nothing to probe, and nothing breaks
    window_->probe({500, 500});
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
    EXPECT_FALSE(window_->message().isEmpty());
}

TEST_F(ViewsTest, EveryControlHasANameAndAnExplanation) {
    open(kScene);
    run();
    QWidgetList controls;
    for (auto* w : window_->findChildren<QAbstractButton*>()) controls << w;
    for (auto* w : window_->findChildren<QComboBox*>()) controls << w;
    for (auto* w : window_->findChildren<QAbstractSlider*>()) controls << w;
    for (auto* w : window_->findChildren<QAbstractSpinBox*>()) controls << w;
    int named = 0;
    for (auto* w : controls) {
        const QString name = w->objectName();
        // Qt's own parts: scroll bars, table corners, tool and dock buttons.
        if (name.startsWith("qt_") || qobject_cast<QScrollBar*>(w) ||
            QString(w->metaObject()->className()) == "QTableCornerButton" ||
            w->inherits("QToolButton") || w->inherits("QDockWidgetTitleButton"))
            continue;
        EXPECT_TRUE(name.contains('.')) << w->metaObject()->className() << " in "
                                        << w->parentWidget()->objectName().toStdString();
        EXPECT_FALSE(w->toolTip().isEmpty()) << name.toStdString();
        ++named;
    }
    EXPECT_GT(named, 50);
}

}  // namespace
}  // namespace atlas::ui
