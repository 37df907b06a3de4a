// SPDX-License-Identifier: Apache-2.0
// Annotations without a screen: geometry, GeoJSON as QuPath has it, undo, and what is on disk.
#include <gtest/gtest.h>

#include <QDir>
#include <QFile>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <cmath>
#include <numbers>

#include "tests/support/temporary_folder.h"
#include "ui/annotations/annotation_store.h"
#include "ui/annotations/annotation_tool.h"

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
