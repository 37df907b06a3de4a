// SPDX-License-Identifier: Apache-2.0
// Runs, what they show, the explorer and models, by mouse and keys alone.
#include <QHeaderView>
#include <QMessageBox>
#include <QMimeData>

#include "tests/support/by_hand_fixture.h"
#include "tests/support/torchscript_model.h"
#include "ui/dialogs/models_page.h"

namespace atlas::ui {
namespace {

TEST_F(ByHandTest, RunsAreComparedTabulatedAndAskedBack) {
    open(kScene);
    run();
    auto* overlap = find<QDoubleSpinBox>("run.overlap");
    overlap->selectAll();
    QTest::keyClicks(overlap, "50");
    QTest::keyClick(overlap, Qt::Key_Tab);
    run();
    const auto runs = engine::findRuns(folder_.path() / "user/results", kScene);
    ASSERT_EQ(runs.size(), 2u);
    // The one before, from the menu; then both compared.
    const auto entryOf = [&](const QString& menu) -> QAction* {
        for (auto* m : window_->menuBar()->findChildren<QMenu*>())
            if (QString(m->title()).remove('&') == menu)
                return m->actions().isEmpty() ? nullptr : m->actions().last();
        return nullptr;
    };
    choose(*window_, entryOf("Compare with"));
    ASSERT_TRUE(settle());
    auto* page = find<QDialog>("comparison.dialog");
    ASSERT_NE(page, nullptr);
    EXPECT_TRUE(layer("difference")["visible"].toBool());
    QTest::keyClick(page, Qt::Key_Escape);
    choose(*window_, entryOf("Show an earlier run"));
    still();
    // The table: sorted by its head, a row clicked flies there, a class chosen filters.
    key(Qt::Key_C);
    auto* table = find<QTableView>("contexts.table");
    ASSERT_TRUE(QTest::qWaitFor([&] { return table->isVisible(); }, 3000));
    auto* head = table->horizontalHeader();
    const auto first = [&] { return table->model()->index(0, 0).data().toString(); };
    const auto clickHead = [&] {
        QTest::mouseClick(head->viewport(), Qt::LeftButton, {},
                          QPoint(head->sectionViewportPosition(0) + 20, head->height() / 2));
    };
    clickHead();
    const QString a = first();
    clickHead();
    EXPECT_NE(first(), a);
    const QPointF before = canvas()->transform().centre();
    pick(table, 2);
    still();
    EXPECT_NE(canvas()->transform().centre(), before);
    const QPointF third = canvas()->transform().centre();
    key(Qt::Key_N);
    EXPECT_NE(canvas()->transform().centre(), third);
    key(Qt::Key_N, Qt::ShiftModifier);
    EXPECT_EQ(canvas()->transform().centre(), third);
    const int all = table->model()->rowCount();
    auto* classes = find<QComboBox>("contexts.class");
    take(classes, 1);
    EXPECT_LT(table->model()->rowCount(), all);
    take(classes, 0);
    // The gallery and the histograms, by their tabs and boxes.
    auto* tabs = find<QTabWidget>("contexts.tabs");
    for (int i = 0; i < tabs->count(); ++i) {
        QTest::mouseClick(tabs->tabBar(), Qt::LeftButton, {}, tabs->tabBar()->tabRect(i).center());
        EXPECT_EQ(tabs->currentIndex(), i);
        if (auto* order = find<QComboBox>("gallery.order"); order->isVisible()) {
            take(order, 1);
            auto* pictures = find<QListWidget>("gallery.list");
            ASSERT_GT(pictures->count(), 1);
            key(Qt::Key_Home);
            const QPointF middle = canvas()->transform().centre();
            pick(pictures, 1);
            still();
            EXPECT_NE(canvas()->transform().centre(), middle);
        }
        if (auto* what = find<QComboBox>("charts.what"); what->isVisible()) {
            auto* chart = find<QWidget>("charts.histogram");
            const QImage was = chart->grab().toImage();
            take(what, 2);
            EXPECT_NE(chart->grab().toImage(), was);
        }
    }
    key(Qt::Key_C);
    // The explorer: mixer, probe with a second, block and head, what if, contributions, measure.
    key(Qt::Key_Home);
    key(Qt::Key_E);
    raise("dock.explorer");
    click("explorer.scale2");
    EXPECT_TRUE(layer("attention2")["visible"].toBool());
    slide(find<QSlider>("explorer.opacity2"), 40);
    EXPECT_NEAR(layer("attention2")["opacity"].toDouble(), 0.4, 1e-9);
    click("explorer.followZoom");
    click("explorer.followZoom");
    const auto answered = [&] {
        QTest::qWait(60);
        EXPECT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
        still();
    };
    key(Qt::Key_Comma);
    key(Qt::Key_Comma);  // the finest scale's tokens
    key(Qt::Key_T);
    QTest::mouseClick(canvas(), Qt::LeftButton, {}, view(1500, 1500));
    answered();
    QTest::mouseClick(canvas(), Qt::LeftButton, Qt::ShiftModifier, view(3000, 500));
    answered();
    EXPECT_TRUE(values()["layers"].toObject().contains("probeB0"))
        << window_->message().toStdString();
    const double mean = values()["probe"].toObject()["mass1"].toDouble();
    take(find<QComboBox>("explorer.head"), 1);
    answered();
    EXPECT_NE(values()["probe"].toObject()["mass1"].toDouble(), mean);
    take(find<QComboBox>("explorer.block"), 0);
    answered();
    key(Qt::Key_R);
    drag(canvas(), {view(1100, 1100), view(1200, 1200), view(1500, 1450)});
    const auto asked = [&] { return values()["explorer"].toObject()["change"].toString(); };
    click("explorer.blur");
    answered();
    EXPECT_TRUE(asked().contains("blurred")) << asked().toStdString();
    click("explorer.mask");
    answered();
    EXPECT_FALSE(asked().contains("blurred")) << asked().toStdString();
    take(find<QComboBox>("explorer.scaleOff"), 2);
    click("explorer.tryScaleOff");
    answered();
    EXPECT_TRUE(asked().contains("scale") || asked().contains("s2")) << asked().toStdString();
    click("explorer.contributions");
    answered();
    EXPECT_TRUE(values()["layers"].toObject().contains("gives2"));
    // A shape drawn by hand is what is blurred.
    key(Qt::Key_B);
    drag(canvas(), {view(1200, 1300), view(1300, 1400), view(1500, 1500)});
    click("explorer.blur");
    answered();
    EXPECT_TRUE(asked().contains("drawn shape")) << asked().toStdString();
    click("explorer.measure");
    ASSERT_TRUE(
        QTest::qWaitFor([&] { return find<QPushButton>("explorer.stop")->isVisible(); }, 5000));
    QTest::qWait(300);
    click("explorer.stop");
    answered();
    EXPECT_TRUE(window_->message().contains("Stopped")) << window_->message().toStdString();
}

TEST_F(ByHandTest, ModelsAreAddedTriedComparedAndRemoved) {
    open(kScene);
    const auto from = test::writeTorchScript(folder_.path() / "bright");
    key(Qt::Key_M, Qt::ControlModifier);
    auto* page = find<ModelsPage>("models.dialog");
    ASSERT_NE(page, nullptr);
    ASSERT_TRUE(QTest::qWaitForWindowExposed(page));
    auto* list = page->findChild<QListWidget*>("models.list");
    ASSERT_EQ(list->count(), 2);
    EXPECT_TRUE(page->card().contains("SHA-256"));
    EXPECT_FALSE(page->findChild<QPushButton*>("models.remove")->isEnabled()) << "it is bundled";
    // Added by the dialog; a folder that is no model is named.
    pickFile([&] { click("models.addFolder"); }, QString::fromStdString(from.string()));
    ASSERT_EQ(list->count(), 3) << page->note().toStdString();
    EXPECT_TRUE(fs::exists(folder_.path() / "models/bright/torchscript_model.pt"));
    EXPECT_TRUE(page->card().contains("TorchScript"));
    EXPECT_TRUE(page->card().contains("bright") && page->card().contains("dark"));
    pickFile([&] { click("models.addFolder"); }, QString::fromStdString(folder_.path().string()));
    EXPECT_EQ(list->count(), 3);
    EXPECT_TRUE(page->note().contains("config.json")) << page->note().toStdString();
    // Another one dropped, of the same name but with other weights: refused by name.
    const auto other = test::writeTorchScript(folder_.path() / "elsewhere/bright");
    std::ofstream(other / "torchscript_model.pt", std::ios::app) << "more";
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(QString::fromStdString(other.string()))});
    QDragEnterEvent enter({40, 40}, Qt::CopyAction, &mime, Qt::LeftButton, {});
    QApplication::sendEvent(page, &enter);
    QDropEvent drop(QPointF(40, 40), Qt::CopyAction, &mime, Qt::LeftButton, {});
    QApplication::sendEvent(page, &drop);
    EXPECT_TRUE(page->note().contains("remove it first")) << page->note().toStdString();
    // Tried: it is code, so that the first use asks.
    ASSERT_TRUE(QTest::qWaitFor([&] { return !page->card().contains("being computed"); }, 10000));
    answer<QMessageBox>([&] { click("models.validate"); },
                        [](QMessageBox* box) {
                            QTest::mouseClick(box->findChild<QPushButton*>("trust.yes"),
                                              Qt::LeftButton);
                        });
    ASSERT_TRUE(QTest::qWaitFor([&] { return page->note().contains("megapixels"); }, 30000))
        << page->note().toStdString();
    EXPECT_TRUE(page->card().contains("megapixels")) << "and the card remembers it";
    // Compared with a bundled one on what the view shows.
    auto* others = page->findChild<QComboBox*>("models.other");
    take(others, others->findText("scenes"));
    click("models.compare");
    ASSERT_TRUE(QTest::qWaitFor(
        [&] { return window_->findChild<QDialog*>("comparison.dialog") != nullptr; }, 60000))
        << window_->message().toStdString();
    EXPECT_TRUE(window_->findChild<QLabel*>("comparison.text")->text().contains("bright"));
    EXPECT_TRUE(layer("difference")["visible"].toBool());
    QTest::keyClick(window_->findChild<QDialog*>("comparison.dialog"), Qt::Key_Escape);
    // Taken for the next run, and removed.
    choose(*window_, "run.models");
    page = find<ModelsPage>("models.dialog");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(page));
    list = page->findChild<QListWidget*>("models.list");
    pick(list, 2);
    click("models.use");
    EXPECT_EQ(window_->runPanel()->modelDir(), folder_.path() / "models/bright");
    choose(*window_, "run.models");
    page = find<ModelsPage>("models.dialog");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(page));
    pick(page->findChild<QListWidget*>("models.list"), 2);
    answer<QMessageBox>([&] { click("models.remove"); },
                        [](QMessageBox* box) {
                            QTest::mouseClick(box->findChild<QPushButton*>("models.sureYes"),
                                              Qt::LeftButton);
                        });
    EXPECT_FALSE(fs::exists(folder_.path() / "models/bright")) << page->note().toStdString();
    EXPECT_TRUE(fs::exists(from)) << "what it was copied from stays";
    EXPECT_EQ(page->models().size(), 2);
    EXPECT_EQ(window_->runPanel()->models().size(), 2u);
}

TEST_F(ByHandTest, AnExportedModelIsAskedWhereItsAnswerHangs) {
    open("synthetic:size=1024,seed=21");
    const auto dir = test::writeTorchScript(folder_.path() / "bright");
    // Dropped on the window a model goes to the Models page, not into the viewer.
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(QString::fromStdString(dir.string()))});
    QDragEnterEvent enter({40, 400}, Qt::CopyAction, &mime, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &enter);
    QDropEvent drop(QPointF(40, 400), Qt::CopyAction, &mime, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &drop);
    auto* page = find<ModelsPage>("models.dialog");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(page));
    click("models.use");
    EXPECT_EQ(window_->runPanel()->modelDir(), folder_.path() / "models/bright");
    answer<QMessageBox>([&] { key(Qt::Key_R, Qt::ControlModifier); },
                        [](QMessageBox* box) {
                            QTest::mouseClick(box->findChild<QPushButton*>("trust.yes"),
                                              Qt::LeftButton);
                        });
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->runs()->busy(); }, 60000));
    ASSERT_TRUE(settle());
    key(Qt::Key_E);
    raise("dock.explorer");
    EXPECT_FALSE(find<QComboBox>("explorer.block")->isVisible()) << "there is nothing to probe";
    EXPECT_FALSE(find<QPushButton>("explorer.flow")->isVisible());
    for (const auto& [index, name] : {std::pair{0, "occlusion"}, {1, "input gradient"}}) {
        take(find<QComboBox>("explorer.saliency"), index);
        window_->setLayer("prediction", {{"visible", false}});
        window_->setLayer("saliency", {{"visible", false}});
        still();
        const QImage before = drawn();
        click("explorer.showSaliency");
        ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
        still();
        EXPECT_TRUE(values()["explorer"].toObject()["saliency"].toString().startsWith(name))
            << window_->message().toStdString();
        EXPECT_TRUE(layer("saliency")["visible"].toBool());
        EXPECT_NE(drawn(), before) << name;
    }
    take(find<QComboBox>("explorer.saliency"), 2);  // this network has no feature map
    click("explorer.showSaliency");
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->probing(); }, 60000));
    QTest::qWait(50);
    EXPECT_TRUE(window_->message().contains("feature map")) << window_->message().toStdString();
}

}  // namespace
}  // namespace atlas::ui
