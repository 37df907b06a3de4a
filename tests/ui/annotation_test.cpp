// SPDX-License-Identifier: Apache-2.0
// Annotations without a screen: geometry, GeoJSON as QuPath has it, undo, and what is on disk.
#include <gtest/gtest.h>

#include <QDir>
#include <QFile>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QTemporaryDir>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "io/geodesy.h"
#include "io/vector_file.h"
#include "tests/support/temporary_folder.h"
#include "ui/annotations/annotation_store.h"
#include "ui/annotations/annotation_tool.h"
#include "ui/annotations/annotation_vectors.h"

namespace atlas::ui {
namespace {

using Shape = Annotation::Shape;

Annotation make(Shape shape, const QPolygonF& points, const QString& className = {}) {
    Annotation a;
    a.shape = shape;
    a.points = points;
    a.className = className;
    return a;
}

std::string errorOf(const QByteArray& text) {
    try {
        fromGeoJson(text);
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

TEST(Annotation, KnowsItsSize) {
    const auto box = make(Shape::Rectangle, {{10, 20}, {40, 60}});
    EXPECT_DOUBLE_EQ(box.area(), 1200);
    EXPECT_DOUBLE_EQ(box.length(), 140);
    const auto ring = make(Shape::Ellipse, {{0, 0}, {20, 10}});
    EXPECT_NEAR(ring.area(), std::numbers::pi * 50, 1e-9);
    EXPECT_NEAR(ring.length(), 48.44, 0.1);  // of an ellipse with half axes 10 and 5
    const auto triangle = make(Shape::Polygon, {{0, 0}, {30, 0}, {0, 40}});
    EXPECT_DOUBLE_EQ(triangle.area(), 600);
    EXPECT_DOUBLE_EQ(triangle.length(), 120);
    EXPECT_DOUBLE_EQ(make(Shape::Line, {{0, 0}, {3, 4}, {3, 10}}).length(), 11);
    EXPECT_FALSE(make(Shape::Polygon, {{0, 0}, {1, 1}}).complete());
    EXPECT_FALSE(make(Shape::Rectangle, {{5, 5}, {5, 9}}).complete());
}

TEST(Annotation, IsHitInsideAndNearItsLine) {
    const auto triangle = make(Shape::Polygon, {{0, 0}, {30, 0}, {0, 40}});
    EXPECT_TRUE(triangle.hit({5, 5}, 1));
    EXPECT_TRUE(triangle.hit({15, -0.5}, 1));
    EXPECT_FALSE(triangle.hit({25, 25}, 1));
    const auto line = make(Shape::Line, {{0, 0}, {100, 0}});
    EXPECT_TRUE(line.hit({50, 2}, 3));
    EXPECT_FALSE(line.hit({50, 5}, 3));
    EXPECT_TRUE(make(Shape::Point, {{7, 7}}).hit({8, 8}, 1));
}

TEST(AnnotationFile, ComesBackAsItWas) {
    AnnotationSet set;
    set.classColors["Tumor"] = QColor(200, 0, 0);
    set.annotations = {make(Shape::Rectangle, {{10.25, 20}, {40, 60.5}}, "Tumor"),
                       make(Shape::Polygon, {{0, 0}, {30, 0}, {0, 40}}),
                       make(Shape::Ellipse, {{1, 2}, {21, 12}}, "Tumor"),
                       make(Shape::Line, {{0, 0}, {3, 4}, {3, 10}}), make(Shape::Point, {{7, 8}})};
    set.annotations[1].name = "a \"name\"";
    set.annotations[1].note = QString::fromUtf8("µ and\nmore");
    const auto back = fromGeoJson(toGeoJson(set));
    EXPECT_EQ(back.annotations, set.annotations);
    EXPECT_EQ(back.classColors, set.classColors);
    // What QuPath needs: a UUID, closed rings, a colour with every class.
    const auto features =
        QJsonDocument::fromJson(toGeoJson(set)).object().value("features").toArray();
    ASSERT_EQ(features.size(), 5);
    for (const auto& f : features) {
        EXPECT_FALSE(QUuid(f.toObject().value("id").toString()).isNull());
        const QJsonObject properties = f.toObject().value("properties").toObject();
        EXPECT_EQ(properties.value("objectType").toString(), "annotation");
        if (properties.contains("classification")) {
            EXPECT_EQ(properties.value("classification").toObject().value("color").toArray().size(),
                      3);
        }
        const QJsonObject geometry = f.toObject().value("geometry").toObject();
        if (geometry.value("type").toString() != "Polygon") continue;
        const QJsonArray ring = geometry.value("coordinates").toArray().at(0).toArray();
        EXPECT_EQ(ring.first(), ring.last());
        EXPECT_GE(ring.size(), 4);
    }
}

TEST(AnnotationFile, ReadsWhatQuPathWrites) {
    const auto set = fromGeoJson(R"({"type":"FeatureCollection","features":[
        {"type":"Feature","id":"3f2c9a4e-0d0b-4b53-9a52-0f6e6b7a1c11",
         "geometry":{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]],
                                                     [[2,2],[4,2],[4,4],[2,2]]]},
         "properties":{"objectType":"annotation","name":"A1","classification":"Stroma"}},
        {"type":"Feature","geometry":{"type":"MultiPolygon","coordinates":
            [[[[0,0],[5,0],[5,5],[0,0]]],[[[20,20],[25,20],[25,25],[20,20]]]]},
         "properties":{"classification":{"names":["Tumor","Positive"],"color":[1,2,3]}}},
        {"type":"Feature","geometry":{"type":"MultiPoint","coordinates":[[1,1],[2,2]]},
         "properties":{}},
        {"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9]]]},
         "properties":{"objectType":"tmaCore"}}]})");
    ASSERT_EQ(set.annotations.size(), 5u);  // a core is no annotation
    EXPECT_EQ(set.annotations[0].name, "A1");
    EXPECT_EQ(set.annotations[0].className, "Stroma");
    EXPECT_EQ(set.annotations[0].points.size(), 4);
    EXPECT_EQ(set.annotations[1].className, "Tumor: Positive");
    EXPECT_EQ(set.classColors["Tumor: Positive"], QColor(1, 2, 3));
    EXPECT_NE(set.annotations[1].id, set.annotations[2].id);
    EXPECT_EQ(set.annotations[3].shape, Shape::Point);
    // A lone array of features, and a lone geometry, are read too.
    EXPECT_EQ(fromGeoJson(R"([{"type":"Point","coordinates":[1,2]}])").annotations.size(), 1u);
}

TEST(Annotation, HasHoles) {
    Annotation a = make(Shape::Polygon, {{0, 0}, {10, 0}, {10, 10}, {0, 10}});
    a.holes = {QPolygonF({{2, 2}, {6, 2}, {6, 6}, {2, 6}})};
    EXPECT_DOUBLE_EQ(a.area(), 100 - 16);
    EXPECT_DOUBLE_EQ(a.length(), 40 + 16);
    EXPECT_TRUE(a.hit({8, 8}, 0.1));
    EXPECT_FALSE(a.hit({4, 4}, 0.1));
    AnnotationSet set;
    set.annotations = {a};
    EXPECT_EQ(fromGeoJson(toGeoJson(set)).annotations, set.annotations);
    EXPECT_EQ(fromGeoJson(R"({"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9],[0,0]],
                              [[5,2],[6,2],[6,3],[5,2]]]})")
                  .annotations.at(0)
                  .holes.size(),
              1u);
}

TEST(AnnotationTool, TheBrushAddsToTheSelectedOneAndRubsOut) {
    AnnotationStore store;
    AnnotationTool tool;
    tool.setStore(&store);
    store.add(make(Shape::Rectangle, {{0, 0}, {100, 100}}));
    store.select(store.all()[0].id);
    const auto stroke = [&](QPointF from, QPointF to, bool erase) {
        tool.press(Tool::Brush, from, 2, erase);
        tool.move(Tool::Brush, (from + to) / 2, 2);
        tool.move(Tool::Brush, to, 2);
        tool.release(Tool::Brush, to, 2);
    };
    stroke({90, 50}, {130, 50}, false);  // radius 6: a bar of 12 sticks out by 30 and a round end
    ASSERT_EQ(store.all().size(), 1u);
    EXPECT_NEAR(store.all()[0].area(), 10000 + 30 * 12 + 18 * 3.14, 12);
    stroke({40, 40}, {60, 40}, true);
    ASSERT_EQ(store.all()[0].holes.size(), 1u);
    EXPECT_NEAR(store.all()[0].area(), 10000 + 360 + 56.5 - 20 * 12 - 36 * 3.14, 20);
    stroke({300, 300}, {320, 300}, false);  // outside: another one
    EXPECT_EQ(store.all().size(), 2u);
    store.undo()->undo();
    store.undo()->undo();
    EXPECT_TRUE(store.all()[0].holes.empty());
}

TEST(AnnotationFile, GeoPackageAndShapefileKeepPlacesAndReproject) {
    QTemporaryDir folder;
    io::GeoReference utm;
    utm.transform = {500000, 10, 0, 4000000, 0, -10};
    utm.crsName = "EPSG:32618";
    utm.wkt = io::wktOf("EPSG:32618");
    AnnotationSet set;
    set.annotations = {make(Shape::Polygon, {{0, 0}, {30, 0}, {30, 40}, {0, 40}}, "Field"),
                       make(Shape::Line, {{0, 0}, {3, 4}}), make(Shape::Point, {{7, 8}}, "Well")};
    set.annotations[0].holes = {QPolygonF({{5, 5}, {10, 5}, {10, 10}})};
    set.annotations[0].name = QString::fromUtf8("Ä 1");
    const QString package = folder.filePath("a.gpkg"), shape = folder.filePath("b.shp");
    saveVectorFile(package, set, utm);
    QString note;
    const auto back = loadVectorFile(package, utm, &note);
    EXPECT_TRUE(note.isEmpty());
    ASSERT_EQ(back.annotations.size(), 3u);
    for (const auto& a : back.annotations) {
        const auto same = std::find_if(set.annotations.begin(), set.annotations.end(),
                                       [&](const auto& b) { return b.shape == a.shape; });
        ASSERT_NE(same, set.annotations.end());
        EXPECT_EQ(a.className, same->className);
        EXPECT_EQ(a.name, same->name);
        EXPECT_NEAR(a.area(), same->area(), 1e-4);
        EXPECT_EQ(a.holes.size(), same->holes.size());
        EXPECT_NEAR(a.bounds().right(), same->bounds().right(), 1e-6);
    }
    saveVectorFile(shape, set, utm);
    EXPECT_TRUE(QFile::exists(folder.filePath("b_polygons.shp")));
    EXPECT_TRUE(QFile::exists(folder.filePath("b_points.prj")));
    // Another image, in degrees: 30 pixels of 10 m east are about 0.00333 degrees there.
    io::GeoReference degrees;
    degrees.transform = {-75, 0.0001, 0, 36.2, 0, -0.0001};
    degrees.geographic = true;
    degrees.wkt = io::wktOf("EPSG:4326");
    const auto moved = loadVectorFile(folder.filePath("b_polygons.shp"), degrees, &note);
    ASSERT_EQ(moved.annotations.size(), 1u);
    EXPECT_NEAR(moved.annotations[0].bounds().width(), 33.3, 0.4);
    EXPECT_NEAR(moved.annotations[0].bounds().left(), 0, 0.2);  // the zone's middle: 75 W
    EXPECT_THROW(loadVectorFile(folder.filePath("none.gpkg"), utm, &note), std::runtime_error);
    EXPECT_THROW(saveVectorFile(folder.filePath("a.dxf"), set, utm), std::runtime_error);
}

TEST(Geodesy, AgreesWithKnownDistances) {
    io::GeoReference degrees;
    degrees.transform = {0, 1, 0, 0, 0, 1};  // pixels are degrees
    degrees.geographic = true;
    degrees.wkt = io::wktOf("EPSG:4326");
    // A degree of the meridian at the equator and of the equator itself, WGS 84.
    EXPECT_NEAR(io::measureGround(degrees, {{0, 0}, {0, 1}}, false).metres, 110574.39, 0.01);
    EXPECT_NEAR(io::measureGround(degrees, {{0, 0}, {1, 0}}, false).metres, 111319.49, 0.01);
    // An octant of the Earth: its surface is 510,065,621.7 km2.
    const auto octant = io::measureGround(degrees, {{0, 0}, {90, 0}, {0, 90}}, true);
    EXPECT_NEAR(octant.squareMetres / 1e12, 510.0656217 / 8, 1e-6);
}

TEST(AnnotationFile, NamesWhatIsWrongInHostileFiles) {
    EXPECT_NE(errorOf("{").find("byte"), std::string::npos);
    EXPECT_NE(errorOf(R"({"type":"Feature","geometry":{"type":"Point","coordinates":["x",1]}})")
                  .find("feature 1"),
              std::string::npos);
    EXPECT_NE(errorOf(R"({"type":"Feature","geometry":{"type":"Knot"}})").find("Knot"),
              std::string::npos);
    EXPECT_NE(errorOf(R"({"type":"Feature","geometry":{"type":"Polygon","coordinates":[]}})")
                  .find("extent"),
              std::string::npos);
    EXPECT_NE(errorOf(R"({"hello":1})").find("GeoJSON"), std::string::npos);
    QByteArray deep;
    for (int i = 0; i < 200; ++i) deep += R"({"type":"FeatureCollection","features":)";
    deep += "[]" + QByteArray(200, '}');
    EXPECT_NE(errorOf(deep).find("deep"), std::string::npos);
}

TEST(AnnotationStore, UndoesAndIsAlwaysOnDisk) {
    const test::TemporaryFolder folder;
    const QString path =
        QString::fromStdString((folder.path() / "deep/slide.svs.annotations.geojson").string());
    AnnotationStore store;
    store.open(path);
    EXPECT_FALSE(QFile::exists(path));  // nothing drawn, nothing written
    const auto onDisk = [&] { return loadAnnotations(path).annotations; };
    store.setClass("Tumor", QColor(200, 0, 0));
    store.add(make(Shape::Polygon, {{0, 0}, {30, 0}, {0, 40}}, "Tumor"));
    EXPECT_EQ(onDisk().size(), 1u);
    EXPECT_EQ(store.selected(), store.all()[0].id);
    Annotation moved = store.all()[0];
    moved.points[1] = {60, 0};
    store.replace(moved);
    EXPECT_EQ(onDisk()[0].area(), 1200);
    store.undo()->undo();
    EXPECT_EQ(onDisk()[0].area(), 600);
    store.undo()->redo();
    store.add(make(Shape::Point, {{5, 5}}));
    store.remove(moved.id);
    EXPECT_EQ(onDisk().size(), 1u);
    store.undo()->undo();
    EXPECT_EQ(store.all().size(), 2u);
    EXPECT_EQ(store.at({1, 1}, 0.5), moved.id);
    EXPECT_EQ(store.at({5, 5}, 1), store.all()[1].id);  // the topmost
    store.add(make(Shape::Polygon, {{0, 0}, {1, 1}}));  // no extent: not taken
    EXPECT_EQ(store.all().size(), 2u);
    AnnotationStore second;
    second.open(path);
    EXPECT_EQ(second.all(), store.all());
    EXPECT_EQ(second.colorOf(second.all()[0]), QColor(200, 0, 0));
    second.addAll(store.set());  // the same again: with ids of their own
    EXPECT_EQ(second.all().size(), 4u);
    EXPECT_NE(second.all()[0].id, second.all()[2].id);
}

TEST(AnnotationStore, KeepsABrokenFileAside) {
    const test::TemporaryFolder folder;
    const QString path = QString::fromStdString((folder.path() / "a.geojson").string());
    {
        QFile file(path);
        ASSERT_TRUE(file.open(QIODevice::WriteOnly));
        file.write("{\"type\":\"Feat");
    }
    AnnotationStore store;
    QString problem;
    QObject::connect(&store, &AnnotationStore::problem,
                     [&](const QString& text) { problem = text; });
    store.open(path);
    EXPECT_TRUE(problem.contains("kept as")) << problem.toStdString();
    EXPECT_TRUE(store.all().empty());
    EXPECT_FALSE(QFile::exists(path));
    EXPECT_EQ(QDir(QString::fromStdString(folder.path().string()))
                  .entryList({"a.geojson.broken-*"})
                  .size(),
              1);
}

TEST(AnnotationTool, DrawsEveryShape) {
    AnnotationStore store;
    AnnotationTool tool;
    tool.setStore(&store);
    tool.setClass("x");
    const auto drag = [&](Tool which, const QPolygonF& path) {
        tool.press(which, path.front(), 2);
        for (const auto& p : path) tool.move(which, p, 2);
        tool.release(which, path.back(), 2);
    };
    const auto click = [&](Tool which, const QPointF& at) {
        tool.press(which, at, 2);
        tool.release(which, at, 2);
    };
    drag(Tool::Ellipse, {{0, 0}, {50, 30}});
    drag(Tool::Line, {{0, 0}, {50, 30}, {80, 60}});
    click(Tool::Point, {9, 9});
    for (const QPointF& p : {QPointF(0, 0), {40, 0}, {40, 40}, {1, 1}}) click(Tool::Polygon, p);
    QPolygonF loop;
    for (int i = 0; i < 40; ++i)
        loop << QPointF(100 + 30 * std::cos(i / 6.4), 100 + 30 * std::sin(i / 6.4));
    drag(Tool::Polygon, loop);
    drag(Tool::Brush, {{0, 0}, {30, 0}, {60, 0}});
    click(Tool::Ellipse, {5, 5});  // no extent: nothing
    ASSERT_EQ(store.all().size(), 6u);
    EXPECT_EQ(store.all()[0].shape, Shape::Ellipse);
    EXPECT_EQ(store.all()[1].points.back(), QPointF(80, 60));
    EXPECT_EQ(store.all()[2].shape, Shape::Point);
    EXPECT_EQ(store.all()[3].area(), 800);  // closed by the click near its first corner
    EXPECT_NEAR(store.all()[4].area(), std::numbers::pi * 900, 300);
    EXPECT_NEAR(store.all()[5].area(), 60 * 12 + std::numbers::pi * 36, 40);  // radius 3 x reach
    for (const auto& a : store.all()) EXPECT_EQ(a.className, "x");
    // A double click ends a polygon; Esc forgets it.
    for (const QPointF& p : {QPointF(0, 0), {40, 0}, {40, 40}}) click(Tool::Polygon, p);
    tool.doubleClick(Tool::Polygon);
    EXPECT_EQ(store.all().size(), 7u);
    click(Tool::Polygon, {0, 0});
    tool.cancel();
    EXPECT_FALSE(tool.drawing());
    // A corner of the selected one moves.
    store.select(store.all()[1].id);
    drag(Tool::Move, {{80, 60}, {90, 70}});
    EXPECT_EQ(store.find(store.selected())->points.back(), QPointF(90, 70));
}

}  // namespace
}  // namespace atlas::ui
