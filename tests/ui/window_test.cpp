// SPDX-License-Identifier: Apache-2.0
// The window on a virtual screen: real slides and rasters, driven by input events, and what is
// drawn compared with what should be. Run under Xvfb.
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

#include "tests/support/window_fixture.h"
#include "ui/dialogs/command_palette.h"
#include "ui/dialogs/shortcuts_page.h"
#include "ui/theme.h"

namespace atlas::ui {
namespace {

TEST_F(WindowTest, StartsWithAWelcomePageAndNoEmptyPanel) {
    EXPECT_FALSE(window_->canvas()->isVisible());
    auto* sample = window_->findChild<QPushButton*>("welcome.sample");
    ASSERT_NE(sample, nullptr);
    QTest::mouseClick(sample, Qt::LeftButton);
    ASSERT_TRUE(settle());
    EXPECT_TRUE(window_->canvas()->isVisible());
    for (auto* control : window_->findChildren<QPushButton*>())
        EXPECT_FALSE(control->toolTip().isEmpty()) << control->objectName().toStdString();
}

TEST_F(WindowTest, DrawsThePixelsOfASlide) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    const std::string path = copyOf("slides/CMU-1-Small-Region.svs");
    open(path);
    window_->canvas()->goTo({1200, 1500}, 2);
    QTest::qWait(100);
    ASSERT_TRUE(settle());
    const auto pixels = io::openImage(path)->readRegion(0, {1100, 1400, 200, 200}, {0, 1, 2});
    const QImage picture = drawn();
    int close = 0, all = 0;
    for (int y = 5; y < 195; y += 10)
        for (int x = 5; x < 195; x += 10, ++all) {
            const size_t i = (static_cast<size_t>(y) * 200 + x) * 3;
            close += difference(at(picture, 1100 + x + 0.5, 1400 + y + 0.5),
                                QColor(pixels.u8[i], pixels.u8[i + 1], pixels.u8[i + 2])) <= 24;
        }
    // Twofold magnification with linear filtering: the centre of a pixel is nearly itself.
    EXPECT_GE(close, all * 9 / 10);
}

TEST_F(WindowTest, MouseAndKeysMoveTheView) {
    open("synthetic:size=4096,seed=21");
    auto* canvas = window_->canvas();
    const double before = canvas->transform().scale();
    const QPoint pointer(300, 200);
    const QPointF under = canvas->transform().imageFromView(pointer);
    QWheelEvent wheel(pointer, canvas->mapToGlobal(pointer), {}, {0, 240}, Qt::NoButton,
                      Qt::NoModifier, Qt::NoScrollPhase, false);
    QApplication::sendEvent(canvas, &wheel);
    EXPECT_NEAR(canvas->transform().scale(), 2 * before, 1e-9);
    EXPECT_NEAR(canvas->transform().imageFromView(pointer).x(), under.x(), 1e-6);
    const QPointF centre = canvas->transform().centre();
    QTest::mousePress(canvas, Qt::LeftButton, {}, QPoint(300, 300));
    QTest::mouseMove(canvas, QPoint(340, 320));
    QTest::mouseRelease(canvas, Qt::LeftButton, {}, QPoint(340, 320));
    EXPECT_NEAR(canvas->transform().centre().x(), centre.x() - 40 / canvas->transform().scale(),
                2 / canvas->transform().scale());
    window_->actionNamed("view.fit")->trigger();
    EXPECT_NEAR(canvas->transform().scale(), before, 1e-9);
    QTest::keyClick(canvas, Qt::Key_Plus);
    EXPECT_GT(canvas->transform().scale(), before);
    ASSERT_TRUE(settle());
    const QSize size = canvas->size();  // the minimap is in the lower right corner
    QTest::mouseClick(canvas, Qt::LeftButton, {}, QPoint(size.width() - 20, size.height() - 20));
    EXPECT_GT(canvas->transform().centre().x(), 3500);
}

TEST_F(WindowTest, ClassifiesAndDrawsEachLayer) {
    open("synthetic:size=4096,seed=21");
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    QTest::mouseClick(window_->findChild<QPushButton*>("run.start"), Qt::LeftButton);
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    QTest::qWait(200);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["state"].toString(), "done") << window_->message().toStdString();
    window_->setLayer("prediction", {{"visible", true}, {"opacity", 1.0}});
    QTest::qWait(50);
    const QPoint point = window_->canvas()->transform().viewFromImage(QPointF(600, 600)).toPoint();
    QTest::mouseMove(window_->canvas(), point);
    QTest::qWait(30);
    const QString name = values()["pointer"].toObject()["class"].toString();
    ASSERT_FALSE(name.isEmpty());
    const auto model = engine::loadModelConfig(kModels / "scenes");
    const auto label = static_cast<size_t>(
        std::find(model.classNames.begin(), model.classNames.end(), name.toStdString()) -
        model.classNames.begin());
    ASSERT_LT(label, model.classNames.size());
    const auto& c = model.classColors[label];
    // What is drawn at full opacity is the class colour of the legend, to rounding.
    EXPECT_LE(difference(at(drawn(), 600, 600), QColor(c[0], c[1], c[2])), 2);
    double mass = 0;
    for (int k = 0; k < 3; ++k)
        mass += values()["pointer"].toObject()[QString("mass%1").arg(k)].toDouble();
    EXPECT_NEAR(mass, 1, 1e-3);
    window_->setLayer("prediction", {{"visible", false}});
    const QImage plain = drawn();
    for (const char* id : {"probability", "attention0", "attention1", "attention2", "mass"}) {
        ASSERT_TRUE(window_->setLayer(id, {{"visible", true}, {"opacity", 1.0}})) << id;
        QTest::qWait(30);
        const QImage with = drawn();
        int changed = 0;
        for (int y = 300; y < 3800; y += 250)
            for (int x = 300; x < 3800; x += 250)
                changed += difference(at(plain, x, y), at(with, x, y)) > 12;
        EXPECT_GT(changed, 100) << id;
        window_->setLayer(id, {{"visible", false}});
    }
    EXPECT_TRUE(values()["layers"].toObject()["attention2"].toObject()["title"].toString().contains(
        "128 m"));
    // Keys: V shows the prediction again, H the attention of the chosen scale.
    window_->actionNamed("view.prediction")->trigger();
    EXPECT_TRUE(values()["layers"].toObject()["prediction"].toObject()["visible"].toBool());
    window_->actionNamed("view.attention")->trigger();
    window_->actionNamed("view.coarserScale")->trigger();
    EXPECT_TRUE(values()["layers"].toObject()["attention1"].toObject()["visible"].toBool());
    // The probe's weights over all scales are one softmax.
    window_->probe({600, 600});
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    double probed = 0;
    for (const auto& value : values()["probe"].toObject()) probed += value.toDouble();
    EXPECT_NEAR(probed, 1, 1e-3);
    // Opened again, the image shows its run at once.
    open("synthetic:size=4096,seed=21");
    EXPECT_TRUE(values()["layers"].toObject().contains("prediction"));
}

TEST_F(WindowTest, TheExplorerAsksTheNetworkAboutOnePlace) {
    open("synthetic:size=4096,seed=21");
    auto* explorer = window_->findChild<ExplorerPanel*>("explorer.panel");
    window_->actionNamed("view.explore")->trigger();
    EXPECT_EQ(window_->findChild<QCheckBox*>("explorer.scale0"), nullptr);
    window_->contributions();
    EXPECT_TRUE(window_->message().contains("Run a model first"));
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    window_->startRun();
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    QTest::qWait(200);

    // The scale mixer drives the layers, and follows the zoom.
    auto* second = window_->findChild<QCheckBox*>("explorer.scale1");
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(second->text(), "s1: 32 m tokens, sees 256 m");
    second->click();
    window_->findChild<QSlider*>("explorer.opacity1")->setValue(30);
    const auto attention = [&](int k) {
        return values()["layers"].toObject()[QString("attention%1").arg(k)].toObject();
    };
    EXPECT_TRUE(attention(1)["visible"].toBool());
    EXPECT_NEAR(attention(1)["opacity"].toDouble(), 0.3, 1e-9);
    window_->findChild<QCheckBox*>("explorer.followZoom")->click();
    window_->canvas()->goTo({2048, 2048}, 0.12);  // 128 m are 256 px: 31 on the screen
    EXPECT_TRUE(attention(2)["visible"].toBool());
    window_->canvas()->goTo({2048, 2048}, 1.5);  // 8 m are 16 px: 24 on the screen
    EXPECT_TRUE(attention(0)["visible"].toBool());
    EXPECT_FALSE(attention(2)["visible"].toBool());
    window_->findChild<QCheckBox*>("explorer.followZoom")->click();
    window_->canvas()->fit();

    // A click probes, Shift-click adds a second probe; another head asks again.
    window_->actionNamed("tool.probe")->trigger();
    const auto click = [&](double x, double y, Qt::KeyboardModifiers keys) {
        QTest::mouseClick(window_->canvas(), Qt::LeftButton, keys,
                          window_->canvas()->transform().viewFromImage({x, y}).toPoint());
        ASSERT_TRUE(settle());
        QTest::qWait(50);
    };
    click(1500, 1500, {});
    const QJsonObject mean = values()["probe"].toObject();
    click(3000, 500, Qt::ShiftModifier);
    EXPECT_TRUE(values()["layers"].toObject().contains("probe0"));
    EXPECT_TRUE(values()["layers"].toObject().contains("probeB0"));
    EXPECT_TRUE(values()["inspector"].toString().contains("Probe B"));
    double sum = 0;
    for (int k = 0; k < 3; ++k)
        sum += values()["probe"].toObject()[QString("b_mass%1").arg(k)].toDouble();
    EXPECT_NEAR(sum, 1, 1e-3);
    double heads = 0;
    for (int head : {1, 2}) {
        window_->findChild<QComboBox*>("explorer.head")->setCurrentIndex(head);
        ASSERT_TRUE(settle());
        QTest::qWait(50);
        heads += values()["probe"].toObject()["mass1"].toDouble() / 2;
    }
    EXPECT_NEAR(heads, mean["mass1"].toDouble(), 1e-4);

    // What if: without a scale, and with the drawn rectangle blurred.
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.blur"), Qt::LeftButton);
    EXPECT_TRUE(window_->message().contains("Draw a rectangle"));
    window_->canvas()->setRegion({1100, 1100, 300, 300});
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.blur"), Qt::LeftButton);
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    EXPECT_EQ(values()["explorer"].toObject()["change"].toString(),
              "region of 150 m x 150 m blurred");
    window_->findChild<QComboBox*>("explorer.scaleOff")->setCurrentIndex(1);
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.tryScaleOff"), Qt::LeftButton);
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    const QJsonObject asked = values()["explorer"].toObject();
    const auto classifier =
        engine::Classifier::open(kModels / "scenes", {.device = "cpu", .cache = {}});
    engine::RunRequest request;
    request.modelDir = kModels / "scenes";
    const auto source = io::openImage("synthetic:size=4096,seed=21", {});
    const io::ColorSource image(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    const auto direct = engine::whatIf(image, *classifier, request,
                                       {engine::WhatIf::Change::ScaleOff, 1, {}, {}}, 1500, 1500);
    for (int c = 0; c < 10; ++c)
        EXPECT_NEAR(asked["after"].toArray().at(c).toDouble(), direct.after[static_cast<size_t>(c)],
                    1e-5);
    auto* table = window_->findChild<QTableWidget*>("explorer.changes");
    EXPECT_TRUE(table->isVisible());
    EXPECT_EQ(table->rowCount(), 5);

    // Contributions are drawn over the context and add up.
    window_->setLayer("attention0", {{"visible", false}});
    window_->setLayer("prediction", {{"visible", false}});
    window_->setLayer("probe0", {{"visible", false}});
    window_->setLayer("attention1", {{"visible", false}});
    const QImage plain = drawn();
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.contributions"), Qt::LeftButton);
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    ASSERT_TRUE(window_->setLayer("gives2", {{"opacity", 1.0}}));
    EXPECT_TRUE(
        values()["layers"].toObject()["gives2"].toObject()["title"].toString().contains("adds to"));
    const QImage with = drawn();
    EXPECT_GT(difference(at(plain, 1500, 1500), at(with, 1500, 1500)), 12);
    EXPECT_LE(difference(at(plain, 3000, 3000), at(with, 3000, 3000)), 2);

    // Faithfulness ends with a verdict on each map; while it is measured it can be stopped.
    engine::FaithfulnessOptions options;
    options.contexts = 2;
    options.randomOrders = 1;
    window_->faithfulness(options);
    EXPECT_TRUE(window_->findChild<QPushButton*>("explorer.stop")->isVisible());
    window_->probe({1500, 1500});  // one question at a time
    EXPECT_TRUE(window_->message().contains("busy")) << window_->message().toStdString();
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    EXPECT_EQ(window_->findChild<QComboBox*>("explorer.curve")->count(), 4);
    EXPECT_TRUE(explorer->verdict().contains("random")) << explorer->verdict().toStdString();
    EXPECT_TRUE(values()["explorer"].toObject()["attention0"].toObject().contains("better"));
    window_->faithfulness();
    QTest::qWait(300);
    QTest::mouseClick(window_->findChild<QPushButton*>("explorer.stop"), Qt::LeftButton);
    ASSERT_TRUE(settle());
    QTest::qWait(50);
    EXPECT_TRUE(window_->message().contains("Stopped"));
}

TEST_F(WindowTest, TheTableOfContextsSortsFiltersAndFlies) {
    open("synthetic:size=5120,seed=6");
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    window_->startRun();
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    QTest::qWait(200);
    window_->actionNamed("view.contexts")->trigger();
    QTest::qWait(100);
    auto* table = window_->findChild<QTableView*>("contexts.table");
    ASSERT_TRUE(table->isVisible());
    const auto* rows = table->model();
    ASSERT_EQ(rows->rowCount(), 25);
    // Least certain first; then by class, and back.
    const auto certainty = [&](int row) {
        return rows->index(row, ContextsModel::Certainty).data(Qt::UserRole).toDouble();
    };
    for (int i = 1; i < 25; ++i) EXPECT_LE(certainty(i - 1), certainty(i));
    // The certainty and the masses are those of the prediction under the pointer.
    const QModelIndex last = rows->index(24, 0);
    table->setCurrentIndex(last);
    QTest::qWait(50);
    EXPECT_EQ(values()["pointer"].toObject()["class"].toString(), last.data().toString());
    EXPECT_NEAR(values()["pointer"].toObject()["probability"].toDouble(), certainty(24), 1e-4);
    double mass = 0;
    for (int k = 0; k < 3; ++k)
        mass += rows->index(24, ContextsModel::FirstMass + k).data(Qt::UserRole).toDouble();
    EXPECT_NEAR(mass, 1, 1e-3);
    // N flies to the next row, Shift+N back.
    window_->actionNamed("view.nextContext")->trigger();
    EXPECT_EQ(table->currentIndex().row(), 0);  // around the end
    const QPointF first = window_->canvas()->transform().centre();
    window_->actionNamed("view.nextContext")->trigger();
    EXPECT_NE(window_->canvas()->transform().centre(), first);
    window_->actionNamed("view.previousContext")->trigger();
    EXPECT_EQ(window_->canvas()->transform().centre(), first);
    // The filter leaves one class in the table and in the picture.
    auto* classes = window_->findChild<QComboBox*>("contexts.class");
    const QString kept = rows->index(24, 0).data().toString();
    const int index = classes->findText(kept);
    ASSERT_GT(index, 0);
    window_->canvas()->fit();
    window_->setLayer("prediction", {{"opacity", 1.0}});
    QPointF other(-1, -1), same;
    for (int i = 0; i < 25; ++i) {
        const auto place = [&](int row) {
            const int x = ContextsModel::FirstMass + 3;
            return QPointF(rows->index(row, x).data(Qt::UserRole).toDouble() + 512,
                           rows->index(row, x + 1).data(Qt::UserRole).toDouble() + 512);
        };
        (rows->index(i, 0).data().toString() == kept ? same : other) = place(i);
    }
    ASSERT_GE(other.x(), 0) << "the scene has one class alone";
    ASSERT_TRUE(settle());
    const QImage before = drawn();
    classes->setCurrentIndex(index);
    Q_EMIT classes->activated(index);
    QTest::qWait(50);
    EXPECT_LT(rows->rowCount(), 25);
    EXPECT_EQ(values()["contexts"].toObject()["shown"].toInt(), rows->rowCount());
    const QImage after = drawn();
    EXPECT_GT(difference(at(before, other.x(), other.y()), at(after, other.x(), other.y())), 8);
    EXPECT_LE(difference(at(before, same.x(), same.y()), at(after, same.x(), same.y())), 2);
    // What each class covers adds up to the scene: 2.56 km on a side.
    const auto* areas = window_->findChild<QTableWidget*>("contexts.areas");
    double hectares = 0;
    for (int i = 0; i < areas->rowCount(); ++i) {
        const QString text = areas->item(i, 2)->text();
        hectares += text.split(' ')[0].toDouble() * (text.endsWith("km²") ? 100 : 1);
    }
    EXPECT_NEAR(hectares, 655.36, 1.5);  // two digits each
}

TEST_F(WindowTest, DrawsMeasuresAndKeepsAnnotations) {
    open("synthetic:size=4096,seed=21");  // half a metre a pixel
    auto* canvas = window_->canvas();
    const QImage plain = drawn();
    const auto viewPoint = [&](double x, double y) {
        return canvas->transform().viewFromImage(QPointF(x, y)).toPoint();
    };
    window_->actionNamed("tool.polygon")->trigger();
    EXPECT_TRUE(window_->findChild<QWidget*>("annotations.panel")->isVisible());
    for (const auto& [x, y] : {std::pair{1000, 1000}, {2000, 1000}, {2000, 2000}, {1000, 2000}})
        QTest::mouseClick(canvas, Qt::LeftButton, {}, viewPoint(x, y));
    QTest::mouseClick(canvas, Qt::LeftButton, {}, viewPoint(1000, 1000));
    ASSERT_EQ(window_->annotations()->all().size(), 1u);
    const auto count = [&] { return values()["annotations"].toObject()["count"].toInt(); };
    // 500 m by 500 m, as far as a click hits.
    const auto metres = window_->annotations()->all()[0].area() / 4;
    EXPECT_NEAR(metres, 250000, 8000);
    EXPECT_TRUE(values()["annotations"].toObject()["selected"].toString().contains("ha"));
    QTest::qWait(50);
    EXPECT_GT(difference(at(plain, 1500, 1500), at(drawn(), 1500, 1500)), 8);  // filled faintly
    EXPECT_LE(difference(at(plain, 3000, 1500), at(drawn(), 3000, 1500)), 2);
    // A class with its colour: in the list and in the picture.
    auto* classes = window_->findChild<QComboBox*>("annotations.class");
    classes->setCurrentText("quarry");
    QTest::keyClick(classes->lineEdit(), Qt::Key_Return);
    EXPECT_EQ(window_->annotations()->all()[0].className, "quarry");
    EXPECT_TRUE(
        window_->findChild<QListWidget*>("annotations.list")->item(0)->text().contains("quarry"));
    // The ruler, drawn by dragging.
    window_->actionNamed("tool.line")->trigger();
    QTest::mousePress(canvas, Qt::LeftButton, {}, viewPoint(500, 3000));
    QTest::mouseMove(canvas, viewPoint(1500, 3000));
    QTest::mouseMove(canvas, viewPoint(2500, 3000));
    QTest::mouseRelease(canvas, Qt::LeftButton, {}, viewPoint(2500, 3000));
    ASSERT_EQ(count(), 2);
    EXPECT_NEAR(window_->annotations()->all()[1].length(), 2000, 25);
    EXPECT_TRUE(values()["annotations"].toObject()["selected"].toString().contains("km") ||
                values()["annotations"].toObject()["selected"].toString().contains("m"));
    // A rectangle is kept; undo takes it back, redo brings it again; Del deletes what is selected.
    window_->keepRegion();
    EXPECT_TRUE(window_->message().contains("Draw a rectangle"));
    canvas->setRegion({100, 100, 300, 200});
    window_->actionNamed("annotate.keep")->trigger();
    EXPECT_EQ(count(), 3);
    window_->actionNamed("annotate.undo")->trigger();
    EXPECT_EQ(count(), 2);
    window_->actionNamed("annotate.redo")->trigger();
    EXPECT_EQ(count(), 3);
    window_->actionNamed("tool.move")->trigger();
    QTest::mouseClick(canvas, Qt::LeftButton, {}, viewPoint(1500, 3000));
    EXPECT_EQ(window_->annotations()->selected(), window_->annotations()->all()[1].id);
    window_->actionNamed("annotate.delete")->trigger();
    EXPECT_EQ(count(), 2);
    // They are there when the image is opened again, and not on another image.
    const auto before = window_->annotations()->all();
    open("synthetic:size=2048,seed=4");
    EXPECT_EQ(count(), 0);
    open("synthetic:size=4096,seed=21");
    EXPECT_EQ(window_->annotations()->all(), before);
    // Imported GeoJSON is added; a broken file is named.
    const QString file = QString::fromStdString((folder_.path() / "more.geojson").string());
    saveAnnotations(file, window_->annotations()->set());
    window_->importAnnotations(file);
    EXPECT_EQ(count(), 4);
    window_->importAnnotations("/nowhere.geojson");
    EXPECT_TRUE(window_->message().contains("/nowhere.geojson"));
}

TEST_F(WindowTest, ComparesTwoRuns) {
    open("synthetic:size=3072,seed=21");
    const auto run = [&](const char* overlap) {
        window_->findChild<QWidget*>("run.overlap")->setProperty("value", overlap);
        window_->startRun();
        QTest::qWait(50);
        ASSERT_TRUE(settle());
        QTest::qWait(200);
    };
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    run("0");
    run("50");
    const auto runs =
        engine::findRuns(folder_.path() / "user/results", "synthetic:size=3072,seed=21");
    ASSERT_EQ(runs.size(), 2u);
    window_->compareWith(runs.back());
    ASSERT_TRUE(settle());
    auto* page = window_->findChild<QDialog*>("comparison.dialog");
    ASSERT_NE(page, nullptr);
    const double agreement = values()["explorer"].toObject()["agreement"].toDouble();
    EXPECT_GT(agreement, 0.5);
    EXPECT_TRUE(page->findChild<QLabel*>("comparison.text")
                    ->text()
                    .contains(QString::number(100 * agreement, 'f', 1)));
    EXPECT_GE(page->findChild<QTableWidget*>("comparison.table")->rowCount(), 1);
    EXPECT_TRUE(values()["layers"].toObject()["difference"].toObject()["visible"].toBool());
    page->close();
    window_->compareWith("/nowhere");
    ASSERT_TRUE(settle());
    EXPECT_TRUE(window_->message().contains("/nowhere"));
}

TEST_F(WindowTest, QuestionsGoToTheNetworkOfTheRunThatIsShown) {
    open("synthetic:size=2048,seed=21");
    const auto run = [&](const char* model) {
        ASSERT_TRUE(window_->runPanel()->chooseModel(model));
        window_->startRun();
        QTest::qWait(50);
        ASSERT_TRUE(settle());
        QTest::qWait(200);
    };
    const auto probe = [&] {
        window_->probe({700, 700});
        EXPECT_TRUE(settle());
        QTest::qWait(100);
        return values()["probe"].toObject();
    };
    const auto answered = [&] { return values()["inspector"].toString().contains("attends to"); };
    run("scenes");
    EXPECT_TRUE(probe().contains("mass2"));
    EXPECT_TRUE(answered());
    run("landuse");  // which has two scales; what the other network said goes away
    EXPECT_FALSE(answered());
    EXPECT_TRUE(values()["probe"].toObject().isEmpty());
    const auto two = probe();
    EXPECT_TRUE(two.contains("mass1"));
    EXPECT_FALSE(two.contains("mass2"));
    window_->findChild<QMenu*>("run.earlierMenu")->actions().last()->trigger();
    ASSERT_TRUE(settle());
    EXPECT_FALSE(answered());
    EXPECT_TRUE(probe().contains("mass2"));
}

TEST_F(WindowTest, SaysOnceThatItIsForResearch) {
    QSettings().remove("seen/researchUse");
    WindowOptions options;
    EXPECT_TRUE(MainWindow(options).message().contains("research use only"));
    EXPECT_TRUE(MainWindow(options).message().isEmpty());
}

TEST_F(WindowTest, GoesToCoordinatesAndShowsWhatTheFileCarries) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    open(copyOf("slides/CMU-1-Small-Region.svs"));
    EXPECT_TRUE(window_->goToText("1200, 800.5"));
    EXPECT_NEAR(window_->canvas()->transform().centre().x(), 1200, 1e-6);
    EXPECT_NEAR(window_->canvas()->transform().centre().y(), 800.5, 1e-6);
    EXPECT_FALSE(window_->goToText("99999 5"));
    EXPECT_TRUE(window_->message().contains("no place"));
    EXPECT_FALSE(window_->goToText("somewhere"));
    window_->copyView();
    EXPECT_FALSE(QApplication::clipboard()->image().isNull());
    window_->actionNamed("view.associated")->trigger();
    auto* dialog = window_->findChild<QDialog*>("associated.dialog");
    ASSERT_NE(dialog, nullptr);
    EXPECT_EQ(dialog->findChild<QTabWidget*>()->count(), 3);
    dialog->close();
}

TEST_F(WindowTest, LooksChangeWithoutReadingAgain) {
    open("synthetic:size=4096,seed=21");
    const QImage plain = drawn();
    const qint64 read = window_->canvas()->tilesLoaded();
    auto* adjuster = window_->findChild<ImageAdjuster*>("adjust.panel");
    window_->findChild<QSlider*>("adjust.brightness")->setValue(115);
    window_->findChild<QSlider*>("adjust.contrast")->setValue(140);
    window_->findChild<QComboBox*>("adjust.channel")->setCurrentIndex(3);
    window_->findChild<QSlider*>("adjust.gamma")->setValue(60);
    QTest::qWait(50);
    const ImageLook look = adjuster->look();
    EXPECT_NE(look.channels[2].gamma, look.channels[0].gamma);
    QImage changed = drawn();
    for (double x : {700.0, 1900.0, 3100.0})
        for (double y : {600.0, 2100.0, 3300.0})
            EXPECT_LE(difference(at(changed, x, y), look.apply(at(plain, x, y))), 3);
    window_->findChild<QComboBox*>("adjust.stain")->setCurrentIndex(1);
    QTest::qWait(50);
    changed = drawn();
    for (double x : {700.0, 1900.0, 3100.0})
        EXPECT_LE(difference(at(changed, x, 1500), adjuster->look().apply(at(plain, x, 1500))), 4);
    const auto* histogram =
        static_cast<Histogram*>(window_->findChild<QWidget*>("adjust.histogram"));
    EXPECT_GT(std::accumulate(histogram->counts()[0].begin(), histogram->counts()[0].end(), 0),
              1000);
    Q_EMIT window_->findChild<QComboBox*>("adjust.preset")->activated(0);
    QTest::qWait(50);
    EXPECT_LE(difference(at(drawn(), 1900, 2100), at(plain, 1900, 2100)), 1);
    EXPECT_EQ(window_->canvas()->tilesLoaded(), read);
}

TEST_F(WindowTest, CommandsKeysAndTheDoctorAreAtHand) {
    // The palette finds by words and does what is chosen.
    window_->actionNamed("help.commands")->trigger();
    auto* palette = window_->findChild<CommandPalette*>("palette.dialog");
    ASSERT_NE(palette, nullptr);
    EXPECT_GT(palette->offered().size(), 25);
    auto* line = palette->findChild<QLineEdit*>("palette.line");
    QTest::keyClicks(line, "theme light");
    EXPECT_EQ(palette->offered(), QStringList{"Light theme"});
    line->clear();
    QTest::keyClicks(line, "finer");
    QTest::keyClick(line, Qt::Key_Return);
    EXPECT_FALSE(palette->isVisible());

    // Keys can be changed, not given twice, and are there at the next start.
    window_->actionNamed("help.shortcuts")->trigger();
    auto* page = window_->findChild<ShortcutsPage*>("shortcuts.dialog");
    ASSERT_NE(page, nullptr);
    auto* table = page->findChild<QTableWidget*>("shortcuts.table");
    int row = -1;
    for (int i = 0; i < table->rowCount(); ++i)
        if (table->item(i, 0)->text() == "Prediction on/off") row = i;
    ASSERT_GE(row, 0);
    EXPECT_FALSE(page->setKeys(row, QKeySequence("Ctrl+R")));
    EXPECT_TRUE(page->note().contains("taken")) << page->note().toStdString();
    EXPECT_TRUE(page->setKeys(row, QKeySequence("Ctrl+Shift+P")));
    {
        WindowOptions options;
        MainWindow second(options);
        EXPECT_EQ(second.actionNamed("view.prediction")->shortcut(), QKeySequence("Ctrl+Shift+P"));
    }
    EXPECT_TRUE(page->setKeys(row, QKeySequence("V")));
    EXPECT_FALSE(QSettings().contains("keys/view.prediction"));
    page->accept();

    window_->actionNamed("help.guide")->trigger();
    auto* guide = window_->findChild<QTextBrowser*>("guide.page");
    ASSERT_NE(guide, nullptr);
    // Every action's key that the guide names is there.
    EXPECT_TRUE(guide->toPlainText().contains("Ask whether it would still say so without"));
    static const QRegularExpression bold(R"(\*\*([^*]+)\*\*)");
    // Pages link to what is there, and Contents comes back.
    static const QRegularExpression link(R"(\]\(([^)]+)\))");
    QString markdown;
    QStringList pages{"guide.md"};
    for (int i = 0; i < pages.size(); ++i) {
        QFile source(QString::fromStdString(kHelp.string()) + "/" + pages[i]);
        ASSERT_TRUE(source.open(QIODevice::ReadOnly)) << pages[i].toStdString();
        const QString text = QString::fromUtf8(source.readAll());
        markdown += text;
        for (auto it = link.globalMatch(text); it.hasNext();) {
            const QString to = it.next().captured(1);
            EXPECT_TRUE(QFile::exists(QString::fromStdString(kHelp.string()) + "/" + to))
                << to.toStdString();
            if (to.endsWith(".md") && !pages.contains(to)) pages << to;
        }
    }
    EXPECT_EQ(pages.size(), 10);
    guide->setSource(QUrl::fromLocalFile(QString::fromStdString((kHelp / "compare.md").string())));
    EXPECT_TRUE(guide->toPlainText().contains("Linked views"));
    QTest::mouseClick(window_->findChild<QPushButton*>("guide.contents"), Qt::LeftButton);
    EXPECT_TRUE(guide->toPlainText().contains("A page a task"));
    QStringList keys;
    for (auto* action : window_->findChildren<QAction*>()) keys << action->shortcut().toString();
    // Panels, halves, files, and what the mouse does.
    const QStringList others{
        "Layers", "Run",       "Explore",   "Shift",      "Alt",       "1",
        "9",      "A folder:", "A project", "GeoPackage", "Shapefile", "Ctrl+Shift+wheel"};
    for (auto it = bold.globalMatch(markdown); it.hasNext();) {
        const QString key = it.next().captured(1);
        EXPECT_TRUE(keys.contains(key) || others.contains(key)) << key.toStdString();
    }
    guide->window()->close();

    window_->actionNamed("help.doctor")->trigger();
    auto* doctor = window_->findChild<DoctorPage*>("doctor.dialog");
    ASSERT_NE(doctor, nullptr);
    EXPECT_TRUE(doctor->report().contains("device: none, as it is a test"));
    QTest::mouseClick(doctor->findChild<QPushButton*>("doctor.test"), Qt::LeftButton);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !doctor->testing(); }, 5000));
    EXPECT_TRUE(doctor->report().contains("self-test, readers: FAILED: broken"));
    QTest::mouseClick(doctor->findChild<QPushButton*>("doctor.copy"), Qt::LeftButton);
    EXPECT_EQ(QApplication::clipboard()->text(), doctor->report());
}

TEST_F(WindowTest, TheWholeAreaAsOneContextShowsWhatEachPlaceAdds) {
    open("synthetic:size=3072,seed=21");
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    window_->findChild<QComboBox*>("run.context")->setCurrentIndex(1);
    EXPECT_FALSE(window_->findChild<QWidget*>("run.overlap")->isEnabled());
    window_->startRun();
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    QTest::qWait(200);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["state"].toString(), "done") << window_->message().toStdString();
    const QJsonObject layers = values()["layers"].toObject();
    ASSERT_TRUE(layers.contains("evidence"));
    ASSERT_TRUE(layers.contains("contribution2"));
    EXPECT_TRUE(layers["contribution2"].toObject()["title"].toString().contains("128 m"));
    window_->setLayer("prediction", {{"visible", false}});
    const QImage plain = drawn();
    for (const char* id : {"evidence", "contribution2", "attention0", "attention2", "mass"}) {
        ASSERT_TRUE(window_->setLayer(id, {{"visible", true}, {"opacity", 1.0}})) << id;
        QTest::qWait(30);
        const QImage with = drawn();
        int changed = 0;
        for (int y = 200; y < 3000; y += 200)
            for (int x = 200; x < 3000; x += 200)
                changed += difference(at(plain, x, y), at(with, x, y)) > 12;
        EXPECT_GT(changed, 80) << id;
        window_->setLayer(id, {{"visible", false}});
    }
    // No token of a run that has no contexts of the model's size: said, not shown wrongly.
    window_->probe({600, 600});
    ASSERT_TRUE(settle());
    QTest::qWait(100);
    EXPECT_TRUE(window_->message().contains("probe")) << window_->message().toStdString();
    open("synthetic:size=3072,seed=21");
    EXPECT_TRUE(values()["layers"].toObject().contains("evidence"));
}

TEST_F(WindowTest, WhatARunSaidGoesWithItsImage) {
    open("synthetic:size=2048,seed=21");
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    window_->findChild<QComboBox*>("run.context")->setCurrentIndex(1);
    window_->findChild<QLineEdit*>("run.resolution")->setText("0.5um");
    window_->startRun();
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    const auto* state = window_->findChild<QLabel*>("run.state");
    EXPECT_TRUE(state->text().contains("has 0 x 0, too few")) << state->text().toStdString();
    EXPECT_TRUE(state->text().contains("0.5 m")) << state->text().toStdString();
    const auto* hint = window_->findChild<QLabel*>("run.about");  // not squeezed by it
    EXPECT_GE(hint->height(), hint->heightForWidth(hint->width()));
    open("synthetic:size=3072,seed=21");
    EXPECT_TRUE(state->text().isEmpty()) << state->text().toStdString();
    EXPECT_TRUE(window_->findChild<QPushButton*>("run.start")->isEnabled());
}

TEST_F(WindowTest, AsksForTheResolutionInsteadOfGuessing) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/boxes.tiff");
    open(copyOf("slides/boxes.tiff"));
    window_->startRun();
    EXPECT_TRUE(window_->message().contains("how large a pixel is"))
        << window_->message().toStdString();
    EXPECT_FALSE(window_->runs()->busy());
}

TEST_F(WindowTest, ABrokenImageNeverStopsTheRest) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const fs::path images = folder_.path() / "images";
    fs::create_directories(images);
    fs::copy_file(test::dataRoot() / "data/geo/hro_colorado.tif", images / "a.tif");
    fs::copy_file(test::dataRoot() / "data/corrupt/cmu-truncated.svs", images / "b.svs");
    fs::copy_file(test::dataRoot() / "data/geo/cog_rgb_mask.tif", images / "c.tif");
    window_->openFolder(QString::fromStdString(images.string()));
    window_->runPanel()->chooseModel("landuse");
    QTest::mouseClick(window_->findChild<QPushButton*>("images.runAll"), Qt::LeftButton);
    open("synthetic:size=2048,seed=3");  // another image opens while they run
    EXPECT_TRUE(window_->canvas()->isVisible());
    ASSERT_TRUE(QTest::qWaitFor(
        [&] { return !window_->runs()->busy() && window_->message().contains("Summary"); },
        120000));
    const auto states = values()["folder"].toObject();
    EXPECT_EQ(states["a.tif"].toString(), "done");
    EXPECT_EQ(states["b.svs"].toString(), "failed");
    EXPECT_EQ(states["c.tif"].toString(), "done");
    std::ifstream csv(images / "atlasscope-summary.csv");
    const std::string text(std::istreambuf_iterator<char>(csv), {});
    EXPECT_NE(text.find("b.svs"), std::string::npos);
    EXPECT_NE(text.find(",error,warnings\n"),
              std::string::npos);  // the codes of what speaks against
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
}

TEST_F(WindowTest, ShowsMapCoordinatesAndAMessageForWhatIsNoImage) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    open(copyOf("geo/RGB.byte.tif"));
    QTest::mouseMove(window_->canvas(), window_->canvas()->rect().center());
    QTest::qWait(30);
    EXPECT_TRUE(values()["position"].toString().contains("·"));
    std::ofstream(folder_.path() / "notes.txt") << "no image";
    window_->openImage(QString::fromStdString((folder_.path() / "notes.txt").string()));
    ASSERT_TRUE(settle());
    EXPECT_TRUE(window_->message().contains("notes.txt")) << window_->message().toStdString();
    EXPECT_EQ(values()["width"].toInt(), 791);  // the image before stays
}

TEST_F(WindowTest, PreviewsTheMaskAndChangesBands) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    open(copyOf("slides/CMU-1-Small-Region.svs"));
    const QImage before = drawn();
    QTest::mouseClick(window_->findChild<QPushButton*>("run.maskPreview"), Qt::LeftButton);
    ASSERT_TRUE(settle());
    EXPECT_TRUE(values()["layers"].toObject()["foreground"].toObject()["visible"].toBool());
    EXPECT_GT(difference(at(before, 100, 100), at(drawn(), 100, 100)), 40);  // glass is dimmed
    window_->setLayer("foreground", {{"visible", false}});
    io::DisplaySettings red;
    red.bands = {0, 0, 0};
    window_->setDisplay(red);
    ASSERT_TRUE(settle());
    QTest::qWait(100);
    ASSERT_TRUE(settle());
    const QColor grey = at(drawn(), 1110, 1480);
    EXPECT_LE(std::abs(grey.red() - grey.blue()), 1);
    EXPECT_EQ(window_->findChild<QComboBox*>("layers.channel2")->currentIndex(), 0);
}

TEST_F(WindowTest, AlphaCanBeOverridden) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/pix4d_alpha_nodata.tif");
    open(copyOf("geo/pix4d_alpha_nodata.tif"));
    const QColor clear = at(drawn(), 4, 4);
    window_->actionNamed("view.alphaNo")->trigger();
    ASSERT_TRUE(settle());
    QTest::qWait(100);
    ASSERT_TRUE(settle());
    EXPECT_GT(difference(clear, at(drawn(), 4, 4)), 10);
}

TEST_F(WindowTest, LightThemeIsLight) {
    window_->setTheme("light");
    EXPECT_GT(window_->palette().color(QPalette::Window).lightness(), 200);
    window_->setTheme("dark");
    EXPECT_LT(window_->palette().color(QPalette::Window).lightness(), 80);
}

}  // namespace
}  // namespace atlas::ui

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    QStandardPaths::setTestModeEnabled(true);
    QSurfaceFormat format;
    format.setVersion(3, 3);
    format.setProfile(QSurfaceFormat::CoreProfile);
    format.setSwapInterval(0);
    QSurfaceFormat::setDefaultFormat(format);
    QApplication app(argc, argv);
    QApplication::setApplicationName("AtlasScopeTest");
    QApplication::setOrganizationName("AtlasScopeTest");
    QSettings().clear();
    atlas::ui::applyTheme(app, "dark");
    return RUN_ALL_TESTS();
}
