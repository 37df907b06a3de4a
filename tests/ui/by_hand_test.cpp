// SPDX-License-Identifier: Apache-2.0
// Every feature of the window by mouse and keys alone: menus, dialogs, lists and the canvas.
// Numbers and pixels behind them are checked in window_test.cpp and views_test.cpp.
#include <QClipboard>
#include <QKeySequenceEdit>
#include <QMimeData>
#include <QSpinBox>

#include "tests/support/by_hand_fixture.h"
#include "tests/support/http_server.h"
#include "ui/dialogs/shortcuts_page.h"
#include "ui/views/view_grid.h"

namespace atlas::ui {
namespace {

TEST_F(ByHandTest, OpensSavesAndCopies) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const QString path = QString::fromStdString(copyOf("geo/RGB.byte.tif"));
    pickFile([&] { key(Qt::Key_O, Qt::ControlModifier); }, path);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["image"].toString(), path);
    still();
    key(Qt::Key_C, Qt::ControlModifier);
    EXPECT_EQ(QApplication::clipboard()->image().size(), drawn().size());
    pickFile([&] { key(Qt::Key_S, Qt::ControlModifier | Qt::ShiftModifier); }, inFolder("v.png"));
    EXPECT_EQ(QImage(inFolder("v.png")).size(), drawn().size());
    pickFile([&] { choose(*window_, "file.saveView"); }, inFolder("v.svg"));
    QFile svg(inFolder("v.svg"));
    ASSERT_TRUE(svg.open(QIODevice::ReadOnly));
    EXPECT_TRUE(svg.readAll().contains("<image"));
    // A folder: its images in the list, opened by a click.
    copyOf("geo/float_nan.tif");
    pickFile([&] { choose(*window_, "file.openFolder"); },
             QString::fromStdString(folder_.path().string()));
    auto* images = find<QListWidget>("images.list");
    ASSERT_TRUE(QTest::qWaitFor([&] { return images->count() >= 2; }, 10000));
    int row = 0;
    while (row < images->count() && !images->item(row)->text().contains("float_nan")) ++row;
    ASSERT_LT(row, images->count());
    pick(images, row);
    const QRect line = images->visualItemRect(images->item(row));
    QTest::mouseDClick(images->viewport(), Qt::LeftButton, {}, line.center());
    ASSERT_TRUE(settle());
    EXPECT_TRUE(values()["image"].toString().endsWith("float_nan.tif"));
    // Dropped on the window.
    QMimeData dropped;
    dropped.setUrls({QUrl::fromLocalFile(path)});
    QDragEnterEvent enter({40, 400}, Qt::CopyAction, &dropped, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &enter);
    EXPECT_TRUE(enter.isAccepted());
    QDropEvent drop(QPointF(40, 400), Qt::CopyAction, &dropped, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &drop);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["image"].toString(), path);
    open(kScene);
    // And the one before from the recent files.
    auto* recent = menusTo(window_->menuBar(), window_->actionNamed("file.open"))[0];
    for (auto* action : recent->actions())
        if (action->menu() && entry(action->menu(), "RGB.byte.tif"))
            choose(*window_, entry(action->menu(), "RGB.byte.tif"));
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["image"].toString(), path);
}

TEST_F(ByHandTest, OpensARasterByItsAddress) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/cog_rgb_mask.tif");
    std::ifstream file(test::dataRoot() / "data/geo/cog_rgb_mask.tif", std::ios::binary);
    test::HttpServer server(std::string(std::istreambuf_iterator<char>(file), {}));
    typeIn([&] { key(Qt::Key_U, Qt::ControlModifier); }, "ftp://somewhere/a.tif");
    EXPECT_TRUE(window_->message().contains("http://")) << window_->message().toStdString();
    const QString url = QString::fromStdString(server.url("cog.tif"));
    typeIn([&] { choose(*window_, "file.openUrl"); }, url);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["image"].toString(), url) << window_->message().toStdString();
    EXPECT_GT(server.sent(), 0u);
}

TEST_F(ByHandTest, MakesFillsAndOpensAProject) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const QString first = QString::fromStdString(copyOf("geo/RGB.byte.tif")),
                  second = QString::fromStdString(copyOf("geo/float_nan.tif"));
    const QString folder = inFolder("project");
    fs::create_directories(folder.toStdString());
    choose(*window_, "project.add");
    EXPECT_TRUE(window_->message().contains("project first"));
    pickFile([&] { key(Qt::Key_O, Qt::ControlModifier); }, first);
    ASSERT_TRUE(settle());
    key(Qt::Key_R);
    drag(canvas(), {view(100, 100), view(300, 200), view(400, 300)});
    key(Qt::Key_A);
    pickFile([&] { choose(*window_, "project.new"); }, folder);
    EXPECT_EQ(values()["project"].toString(), folder) << window_->message().toStdString();
    pickFile([&] { choose(*window_, "project.add"); }, second);
    EXPECT_EQ(values()["folder"].toObject().keys(), (QStringList{"RGB.byte.tif", "float_nan.tif"}));
    // What was drawn before came along; what is drawn now is kept in the project.
    const auto drawnNow = [&] { return window_->annotations()->all().size(); };
    EXPECT_EQ(drawnNow(), 1u);
    key(Qt::Key_R);
    drag(canvas(), {view(300, 300), view(400, 400), view(500, 420)});
    key(Qt::Key_A);
    EXPECT_EQ(drawnNow(), 2u) << window_->message().toStdString();
    EXPECT_TRUE(QFile::exists(folder + "/runs/RGB.byte.tif.annotations.geojson"));
    choose(*window_, "project.close");
    EXPECT_TRUE(values()["project"].toString().isEmpty());
    EXPECT_EQ(drawnNow(), 1u) << "beside the image nothing changed";
    pickFile([&] { choose(*window_, "project.open"); }, folder);
    ASSERT_TRUE(settle());
    EXPECT_EQ(values()["project"].toString(), folder);
    EXPECT_EQ(values()["folder"].toObject().keys().size(), 2);
    EXPECT_EQ(drawnNow(), 2u);
    // An image of the same name from elsewhere has files of its own.
    fs::create_directories(folder_.path() / "elsewhere");
    const QString twin = inFolder("elsewhere/RGB.byte.tif");
    QFile::copy(first, twin);
    pickFile([&] { choose(*window_, "project.add"); }, twin);
    const auto project = *window_->project();
    EXPECT_TRUE(project.tagOf(first).isEmpty());
    EXPECT_EQ(project.tagOf(twin).size(), 9);
}

TEST_F(ByHandTest, KeepsFindsAndForgetsBookmarks) {
    open(kScene);
    canvas()->setFocus();
    for (int i = 0; i < 4; ++i) QTest::keyClick(canvas(), Qt::Key_Plus);
    drag(canvas(), {{500, 300}, {450, 260}, {380, 240}});
    const QPointF place = canvas()->transform().centre();
    const double scale = canvas()->transform().scale();
    typeIn([&] { key(Qt::Key_B, Qt::ControlModifier); }, "quarry");
    EXPECT_EQ(values()["bookmarks"].toInt(), 1) << window_->message().toStdString();
    key(Qt::Key_Home);
    EXPECT_NE(canvas()->transform().centre(), place);
    const auto mark = [&](const QString& name) -> QAction* {
        for (auto* menu : window_->menuBar()->findChildren<QMenu*>())
            if (auto* found = entry(menu, name)) return found;
        return nullptr;
    };
    choose(*window_, mark("quarry"));
    EXPECT_EQ(canvas()->transform().centre(), place);
    EXPECT_DOUBLE_EQ(canvas()->transform().scale(), scale);
    // Another name, and gone.
    choose(*window_, "view.editBookmarks");
    auto* list = find<QListWidget>("bookmarks.list");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(list->window()));
    const QPoint line = list->visualItemRect(list->item(0)).center();
    QTest::mouseClick(list->viewport(), Qt::LeftButton, {}, line);
    QTest::mouseDClick(list->viewport(), Qt::LeftButton, {}, line);
    auto* editor = list->viewport()->findChild<QLineEdit*>();
    ASSERT_NE(editor, nullptr);
    editor->selectAll();
    QTest::keyClicks(editor, "old quarry");
    QTest::keyClick(editor, Qt::Key_Return);
    QTest::qWait(20);
    EXPECT_EQ(window_->views()->bookmarks().all().at(0).name, "old quarry");
    pick(list, 0);
    click("bookmarks.remove");
    EXPECT_EQ(values()["bookmarks"].toInt(), 0);
    QTest::keyClick(list->window(), Qt::Key_Escape);
    QTest::qWait(20);
    EXPECT_EQ(mark("old quarry"), nullptr);
}

TEST_F(ByHandTest, ComparesWithAnotherImageBySwipeLensAndSideBySide) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    const QString path = QString::fromStdString(copyOf("geo/RGB.byte.tif")),
                  other = QString::fromStdString(copyOf("geo/hro_colorado.tif"));
    pickFile([&] { key(Qt::Key_O, Qt::ControlModifier); }, other);
    ASSERT_TRUE(settle());
    still();
    pickFile([&] { key(Qt::Key_O, Qt::ControlModifier); }, path);
    ASSERT_TRUE(settle());
    still();
    const QImage alone = drawn();
    // Another projection: lined up by share of the width, and said so.
    pickFile([&] { choose(*window_, "view.swipeImage"); }, other);
    ASSERT_TRUE(QTest::qWaitFor([&] { return !window_->message().isEmpty(); }, 10000));
    EXPECT_TRUE(window_->message().contains("aligned by")) << window_->message().toStdString();
    key(Qt::Key_Escape);
    still();
    EXPECT_EQ(canvas()->compareMode(), CompareMode::Swipe);
    const auto changed = [&](double x) {
        int count = 0;
        const QImage now = drawn();
        for (int y = 60; y < 660; y += 30) count += difference(at(alone, x, y), at(now, x, y)) > 12;
        return count;
    };
    EXPECT_EQ(changed(200), 0);
    EXPECT_GT(changed(600), 5);
    const QSize size = canvas()->size();
    drag(canvas(), {{size.width() / 2, 200}, {size.width() / 3, 200}, {size.width() / 4, 200}});
    still();
    EXPECT_NEAR(canvas()->swipe(), 0.25, 0.01);
    choose(*window_, "view.compareOff");
    still();
    EXPECT_EQ(changed(600), 0);
    pickFile([&] { choose(*window_, "view.lensImage"); }, other);
    ASSERT_TRUE(
        QTest::qWaitFor([&] { return canvas()->compareMode() == CompareMode::Lens; }, 10000));
    key(Qt::Key_Escape);
    QTest::mouseMove(canvas(), view(600, 300));
    still();
    EXPECT_GT(difference(at(alone, 600, 300), at(drawn(), 600, 300)), 4);
    EXPECT_EQ(changed(100), 0);
    choose(*window_, "view.compareOff");
    // Side by side, by the boxes over the second view.
    choose(*window_, "view.views2");
    still();
    auto* image = find<QComboBox>("views.image1");
    pickFile(
        [&] {
            QTest::mouseClick(image, Qt::LeftButton);
            ASSERT_TRUE(QTest::qWaitFor([&] { return image->view()->isVisible(); }, 3000));
            QTest::keyClick(image->view(), Qt::Key_End);
            QTest::keyClick(image->view(), Qt::Key_Return);
        },
        other);
    ASSERT_TRUE(QTest::qWaitFor([&] { return image->count() == 3; }, 10000));
    EXPECT_EQ(image->currentText(), "hro_colorado.tif");
    ASSERT_TRUE(settle());
    take(image, 0);
    EXPECT_EQ(image->count(), 2);
    key(Qt::Key_1, Qt::ControlModifier | Qt::AltModifier);
    EXPECT_EQ(values()["views"].toInt(), 1);
}

TEST_F(ByHandTest, LayersAreMixedInTheirPanel) {
    open(kScene);
    run();
    still();
    auto* list = find<QListWidget>("layers.list");
    const auto rowOf = [&](const char* id) {
        for (int i = 0; i < list->count(); ++i)
            if (list->item(i)->data(Qt::UserRole).toString() == id) return i;
        return -1;
    };
    ASSERT_GT(rowOf("attention1"), 0);
    tick(list, rowOf("prediction"));
    EXPECT_FALSE(layer("prediction")["visible"].toBool());
    still();
    const QImage plain = drawn();
    pick(list, rowOf("attention1"));
    tick(list, rowOf("attention1"));
    EXPECT_TRUE(layer("attention1")["visible"].toBool());
    slide(find<QSlider>("layers.opacity"), 100);
    EXPECT_DOUBLE_EQ(layer("attention1")["opacity"].toDouble(), 1);
    still();
    const auto differs = [&](const QImage& a) {
        const QImage b = drawn();
        int count = 0;
        for (int y = 300; y < 3800; y += 250)
            for (int x = 300; x < 3800; x += 250) count += difference(at(a, x, y), at(b, x, y)) > 6;
        return count;
    };
    EXPECT_GT(differs(plain), 100);
    QImage before = drawn();
    const auto changes = [&](const std::function<void()>& act, const char* what, int least = 60) {
        act();
        still();
        EXPECT_GT(differs(before), least) << what;
        before = drawn();
    };
    auto* maps = find<QComboBox>("layers.colorMap");
    changes([&] { take(maps, maps->currentIndex() == 0 ? 1 : 0); }, "colour map");
    changes([&] { click("layers.invert"); }, "invert");
    changes([&] { click("layers.smooth"); }, "smooth or blocky", 20);
    changes([&] { take(find<QComboBox>("layers.scaling"), 1); }, "raw values", 20);
    changes([&] { take(find<QComboBox>("layers.blend"), 1); }, "multiply");
    changes([&] { take(find<QComboBox>("layers.blend"), 2); }, "add");
    take(find<QComboBox>("layers.blend"), 0);
    still();
    before = drawn();
    changes([&] { slide(find<QSlider>("layers.threshold"), 60); }, "threshold", 15);
    // The linked view beside shows another layer.
    choose(*window_, "view.views2");
    still();
    auto* side = window_->views()->grid()->sides()[0];
    const QImage bare = side->canvas()->grabFramebuffer();
    auto* layers = find<QComboBox>("views.layer1");
    take(layers, layers->count() - 1);
    still();
    EXPECT_NE(side->canvas()->grabFramebuffer(), bare);
    // The keys for the prediction, the scale and the opacity of what is selected.
    key(Qt::Key_V);
    EXPECT_TRUE(layer("prediction")["visible"].toBool());
    pick(list, rowOf("prediction"));
    const double opacity = layer("prediction")["opacity"].toDouble();
    key(Qt::Key_BracketLeft);
    EXPECT_NEAR(layer("prediction")["opacity"].toDouble(), opacity - 0.1, 1e-9);
}

TEST_F(ByHandTest, BandsStretchAndLookAreSetInTheImagePanel) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/LE7_stack_8band_int16.tif");
    open(copyOf("geo/LE7_stack_8band_int16.tif"));
    pick(find<QListWidget>("layers.list"), 0);
    QImage before = drawn();
    const int w = before.width(), h = before.height();
    const auto changes = [&](const std::function<void()>& act, const char* what) {
        act();
        still();
        const QImage now = drawn();
        int count = 0;
        for (int y = h / 4; y < h * 3 / 4; y += 12)
            for (int x = w / 4; x < w * 3 / 4; x += 12)
                count += difference(before.pixelColor(x, y), now.pixelColor(x, y)) > 3;
        EXPECT_GT(count, 100) << what;
        before = now;
    };
    auto* mapping = find<QComboBox>("layers.mapping");
    changes([&] { take(mapping, 1); }, "false colour");
    changes([&] { take(mapping, 2); }, "single band");
    changes([&] { take(mapping, 3); }, "index");
    changes([&] { take(mapping, 0); }, "true colour");
    changes([&] { take(find<QComboBox>("layers.channel0"), 3); }, "another red");
    auto* stretch = find<QComboBox>("layers.stretch");
    changes([&] { take(stretch, 2); }, "smallest to largest");
    QTest::keyClick(canvas(), Qt::Key_Plus);
    QTest::keyClick(canvas(), Qt::Key_Plus);
    still();
    before = drawn();
    changes([&] { take(stretch, stretch->count() - 1); }, "stretch of the view");
    const qint64 read = canvas()->tilesLoaded();
    changes([&] { slide(find<QSlider>("adjust.brightness"), 130); }, "brightness");
    changes([&] { slide(find<QSlider>("adjust.contrast"), 160); }, "contrast");
    take(find<QComboBox>("adjust.channel"), 1);
    changes([&] { slide(find<QSlider>("adjust.gamma"), 60); }, "gamma of red");
    changes([&] { take(find<QComboBox>("adjust.preset"), 0); }, "preset");
    changes([&] { take(find<QComboBox>("adjust.stain"), 1); }, "a stain");
    EXPECT_EQ(canvas()->tilesLoaded(), read) << "no tile is read again for colours";
    typeIn([&] { take(find<QComboBox>("adjust.vectors"), 2); }, "0.6 0.7 0.3 / 0.2 0.8 0.5");
    auto* adjuster = find<ImageAdjuster>("adjust.panel");
    EXPECT_NEAR(adjuster->look().stains.vectors[0][0] / adjuster->look().stains.vectors[0][1],
                0.6 / 0.7, 1e-3);
}

TEST_F(ByHandTest, DrawsEveryShapeNamesUndoesAndExchangesThem) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/geo/RGB.byte.tif");
    open(copyOf("geo/RGB.byte.tif"));
    const auto count = [&] { return window_->annotations()->all().size(); };
    const auto shape = [&](size_t i) { return window_->annotations()->all().at(i).shape; };
    using Shape = Annotation::Shape;
    key(Qt::Key_O);
    drag(canvas(), {view(100, 100), view(200, 150), view(300, 200)});
    ASSERT_EQ(count(), 1u);
    EXPECT_EQ(shape(0), Shape::Ellipse);
    key(Qt::Key_L);
    drag(canvas(), {view(100, 300), view(200, 300), view(300, 300)});
    key(Qt::Key_X);
    QTest::mouseClick(canvas(), Qt::LeftButton, {}, view(500, 100));
    key(Qt::Key_B);
    drag(canvas(), {view(500, 300), view(550, 320), view(600, 340), view(640, 340)});
    ASSERT_EQ(count(), 4u);
    EXPECT_EQ(shape(1), Shape::Line);
    EXPECT_EQ(shape(2), Shape::Point);
    EXPECT_TRUE(window_->annotations()->all()[3].hasArea());
    // The brush with Alt rubs out.
    const double painted = window_->annotations()->all()[3].area();
    drag(canvas(), {view(500, 300), view(520, 310), view(540, 320)}, Qt::AltModifier);
    EXPECT_LT(window_->annotations()->all()[3].area(), painted);
    key(Qt::Key_Z, Qt::ControlModifier);
    EXPECT_DOUBLE_EQ(window_->annotations()->all()[3].area(), painted);
    key(Qt::Key_Z, Qt::ControlModifier | Qt::ShiftModifier);
    EXPECT_LT(window_->annotations()->all()[3].area(), painted);
    key(Qt::Key_R);
    drag(canvas(), {view(100, 400), view(200, 450), view(260, 520)});
    key(Qt::Key_A);
    ASSERT_EQ(count(), 5u);
    // Class, colour, name and note in the panel.
    raise("dock.annotations");
    pick(find<QListWidget>("annotations.list"), 4);
    type(find<QComboBox>("annotations.class")->lineEdit(), "Field");
    type(find<QLineEdit>("annotations.name"), "by the road");
    type(find<QLineEdit>("annotations.note"), "seen in May");
    const Annotation drawnField = window_->annotations()->all()[4];
    EXPECT_EQ(drawnField.className, "Field");
    EXPECT_EQ(drawnField.name, "by the road");
    EXPECT_EQ(drawnField.note, "seen in May");
    answer<QDialog>([&] { click("annotations.color"); },
                    [](QDialog* dialog) {
                        auto* html = dialog->findChild<QLineEdit*>("qt_colorname_lineedit");
                        if (!html) html = dialog->findChildren<QLineEdit*>().last();
                        html->selectAll();
                        QTest::keyClicks(html, "#12a0ff");
                        QTest::keyClick(dialog, Qt::Key_Return);
                    });
    EXPECT_EQ(window_->annotations()->set().classColors.value("Field"), QColor("#12a0ff"));
    // Out to a GIS and QuPath, everything deleted, and in again.
    for (const char* name : {"fields.gpkg", "fields.shp", "fields.geojson"}) {
        pickFile([&] { click("annotations.export"); }, inFolder(name));
        const QString made = QString(name).endsWith("shp") ? "fields_polygons.shp" : name;
        ASSERT_TRUE(QFile::exists(inFolder(qPrintable(made))))
            << name << window_->message().toStdString()
            << QDir(QString::fromStdString(folder_.path().string()))
                   .entryList()
                   .join(' ')
                   .toStdString();
    }
    key(Qt::Key_M);
    while (count() > 0) {
        const auto before = count();
        pick(find<QListWidget>("annotations.list"), 0);
        before % 2 ? click("annotations.remove") : key(Qt::Key_Delete);
        ASSERT_EQ(count(), before - 1);
    }
    for (const char* name : {"fields.gpkg", "fields.geojson"}) {
        const auto before = count();
        pickFile([&] { click("annotations.import"); }, inFolder(name));
        ASSERT_EQ(count(), before + 5) << window_->message().toStdString();
        int fields = 0;
        for (const auto& a : window_->annotations()->all())
            fields += a.className == "Field" && std::abs(a.area() / drawnField.area() - 1) < 1e-3;
        EXPECT_EQ(fields, before == 0 ? 1 : 2);
    }
    // A corner is moved by its handle.
    key(Qt::Key_M);
    auto* list = find<QListWidget>("annotations.list");
    for (int i = 0; i < list->count(); ++i)
        if (list->item(i)->text().contains("Field")) pick(list, i);
    const auto* field = window_->annotations()->find(window_->annotations()->selected());
    ASSERT_NE(field, nullptr);
    const double area = field->area();
    const QPointF corner = field->outline().boundingRect().bottomRight();
    drag(canvas(), {view(corner.x(), corner.y()), view(corner.x() + 30, corner.y() + 30),
                    view(corner.x() + 60, corner.y() + 60)});
    EXPECT_GT(window_->annotations()->find(window_->annotations()->selected())->area(), area * 1.1);
}

TEST_F(ByHandTest, GoesTurnsAndShowsWhatTheFileCarries) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    open(copyOf("slides/CMU-1-Small-Region.svs"));
    typeIn([&] { key(Qt::Key_G, Qt::ControlModifier); }, "1200, 800");
    EXPECT_EQ(canvas()->transform().centre(), QPointF(1200, 800));
    typeIn([&] { choose(*window_, "view.rotateTo"); }, "33.5");
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 33.5);
    key(Qt::Key_0, Qt::ControlModifier);
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 0);
    choose(*window_, "view.associated");
    auto* pages = find<QDialog>("associated.dialog");
    ASSERT_NE(pages, nullptr);
    ASSERT_TRUE(QTest::qWaitForWindowExposed(pages));
    auto* tabs = pages->findChild<QTabWidget*>();
    QTest::mouseClick(tabs->tabBar(), Qt::LeftButton, {}, tabs->tabBar()->tabRect(1).center());
    EXPECT_EQ(tabs->currentIndex(), 1);
    EXPECT_FALSE(tabs->currentWidget()->grab().isNull());
    QTest::keyClick(pages, Qt::Key_Escape);
    // Stains from this slide's own colours.
    pick(find<QListWidget>("layers.list"), 0);
    auto* adjuster = find<ImageAdjuster>("adjust.panel");
    const auto usual = adjuster->look().stains.vectors;
    take(find<QComboBox>("adjust.stain"), 1);
    take(find<QComboBox>("adjust.vectors"), 1);
    EXPECT_NE(adjuster->look().stains.vectors, usual);
    // Themes, docks, settings and other keys.
    choose(*window_, "view.lightTheme");
    EXPECT_GT(window_->palette().color(QPalette::Window).lightness(), 200);
    choose(*window_, "view.darkTheme");
    EXPECT_LT(window_->palette().color(QPalette::Window).lightness(), 80);
    raise("dock.annotations");
    // Tab hides the docks over the image, and goes on to the next control in a panel.
    QApplication::setActiveWindow(window_.get());
    canvas()->setFocus();
    QTest::keyClick(canvas(), Qt::Key_Tab);
    EXPECT_FALSE(find<QDockWidget>("dock.layers")->isVisible());
    QTest::keyClick(canvas(), Qt::Key_Tab);
    EXPECT_TRUE(find<QDockWidget>("dock.layers")->isVisible());
    EXPECT_FALSE(find<QDockWidget>("dock.contexts")->isVisible()) << "it was closed before";
    QTest::qWait(50);
    EXPECT_FALSE(find<QDockWidget>("dock.annotations")->visibleRegion().isEmpty())
        << "the tab that was in front is so again";
    auto* models = find<QComboBox>("run.model");
    models->setFocus();
    QTest::keyClick(models, Qt::Key_Tab);
    EXPECT_TRUE(find<QDockWidget>("dock.layers")->isVisible());
    EXPECT_FALSE(models->hasFocus());
    key(Qt::Key_Comma, Qt::ControlModifier);
    auto* textures = find<QSpinBox>("settings.textures");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(textures->window()));
    textures->selectAll();
    QTest::keyClicks(textures, "128");
    QTest::keyClick(textures, Qt::Key_Tab);
    EXPECT_EQ(canvas()->textureBudget(), qint64{128} << 20);
    textures->selectAll();
    QTest::keyClicks(textures, "384");
    QTest::keyClick(textures, Qt::Key_Tab);
    QTest::keyClick(textures->window(), Qt::Key_Escape);
    key(Qt::Key_K, Qt::ControlModifier);
    auto* keys = find<ShortcutsPage>("shortcuts.dialog");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(keys));
    auto* table = keys->findChild<QTableWidget*>("shortcuts.table");
    int row = 0;
    while (row < table->rowCount() && table->item(row, 0)->text() != "Light theme") ++row;
    ASSERT_LT(row, table->rowCount());
    pick(table, row);
    auto* edit = keys->findChild<QKeySequenceEdit*>("shortcuts.edit");
    edit->setFocus();
    QTest::keyClick(edit, Qt::Key_F6);
    ASSERT_TRUE(QTest::qWaitFor([&] { return edit->keySequence() == QKeySequence("F6"); }, 3000));
    QTest::mouseClick(keys->findChild<QPushButton*>("shortcuts.set"), Qt::LeftButton);
    QTest::mouseClick(keys->findChild<QPushButton*>("shortcuts.close"), Qt::LeftButton);
    key(Qt::Key_F6);
    EXPECT_GT(window_->palette().color(QPalette::Window).lightness(), 200);
    // The command palette finds by words; the guide is a key away.
    key(Qt::Key_L, Qt::ControlModifier);
    auto* line = find<QLineEdit>("palette.line");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(line->window()));
    QTest::keyClicks(line, "dark theme");
    QTest::keyClick(line, Qt::Key_Return);
    EXPECT_LT(window_->palette().color(QPalette::Window).lightness(), 80);
    key(Qt::Key_F1);
    auto* guide = find<QTextBrowser>("guide.page");
    ASSERT_TRUE(QTest::qWaitForWindowExposed(guide->window()));
    QTest::keyClick(guide->window(), Qt::Key_Escape);
    EXPECT_FALSE(guide->isVisible());
    QSettings().remove("keys/view.lightTheme");
}

}  // namespace
}  // namespace atlas::ui
