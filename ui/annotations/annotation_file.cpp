// SPDX-License-Identifier: Apache-2.0
#include "ui/annotations/annotation_file.h"

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QSaveFile>
#include <cmath>
#include <stdexcept>

namespace atlas::ui {
namespace {

constexpr int kDeepest = 16;  // collections in collections
constexpr qint64 kMostBytes = qint64{1} << 30;

QJsonArray pair(const QPointF& p) {
    return {p.x(), p.y()};
}

QJsonArray pairs(const QPolygonF& line, bool closed) {
    QJsonArray array;
    for (const auto& p : line) array.append(pair(p));
    if (closed && !line.isEmpty()) array.append(pair(line.front()));
    return array;
}

QString keyOf(Annotation::Shape shape) {
    const char* names[] = {"rectangle", "polygon", "ellipse", "line", "point"};
    return names[static_cast<int>(shape)];
}

QJsonObject featureOf(const Annotation& a, const QMap<QString, QColor>& colors) {
    QJsonObject geometry;
    if (a.shape == Annotation::Shape::Point)
        geometry = {{"type", "Point"}, {"coordinates", pair(a.points.value(0))}};
    else if (a.shape == Annotation::Shape::Line)
        geometry = {{"type", "LineString"}, {"coordinates", pairs(a.points, false)}};
    else {
        QJsonArray rings{pairs(a.outline(), true)};
        for (const auto& hole : a.holes) rings.append(pairs(hole, true));
        geometry = {{"type", "Polygon"}, {"coordinates", rings}};
    }
    QJsonObject metadata{{"shape", keyOf(a.shape)}};
    if (!a.note.isEmpty()) metadata["note"] = a.note;
    if (a.shape == Annotation::Shape::Ellipse || a.shape == Annotation::Shape::Rectangle) {
        const QRectF r = a.bounds();
        metadata["box"] = QString("%1 %2 %3 %4")
                              .arg(r.x(), 0, 'g', 17)
                              .arg(r.y(), 0, 'g', 17)
                              .arg(r.width(), 0, 'g', 17)
                              .arg(r.height(), 0, 'g', 17);
    }
    QJsonObject properties{{"objectType", "annotation"}, {"metadata", metadata}};
    if (!a.name.isEmpty()) properties["name"] = a.name;
    if (!a.className.isEmpty()) {
        const QColor c = colors.value(a.className, QColor(200, 200, 200));
        properties["classification"] =
            QJsonObject{{"name", a.className}, {"color", QJsonArray{c.red(), c.green(), c.blue()}}};
    }
    return {{"type", "Feature"},
            {"id", a.id.toString(QUuid::WithoutBraces)},
            {"geometry", geometry},
            {"properties", properties}};
}

/// Reads one document; knows where it is for its errors.
class Reader {
  public:
    AnnotationSet set;

    void value(const QJsonValue& v, int depth) {
        if (depth > kDeepest) fail("nested too deeply");
        if (v.isArray()) {
            for (const auto& item : v.toArray()) value(item, depth + 1);
            return;
        }
        const QJsonObject object = v.toObject();
        const QString type = object.value("type").toString();
        if (type == "FeatureCollection")
            value(object.value("features"), depth + 1);
        else if (type == "GeometryCollection")
            value(object.value("geometries"), depth + 1);
        else if (type == "Feature")
            feature(object);
        else if (!type.isEmpty())
            geometry(object, {}, depth);
        else
            fail("is no GeoJSON object");
    }

  private:
    [[noreturn]] void fail(const QString& why) const {
        throw std::runtime_error(QString("feature %1: %2").arg(number_).arg(why).toStdString());
    }

    QPointF point(const QJsonValue& v) const {
        const QJsonArray a = v.toArray();
        const double x = a.at(0).toDouble(NAN), y = a.at(1).toDouble(NAN);
        if (!std::isfinite(x) || !std::isfinite(y)) fail("a position is not two numbers");
        return {x, y};
    }
    QPolygonF line(const QJsonValue& v) const {
        QPolygonF result;
        for (const auto& p : v.toArray()) result << point(p);
        return result;
    }

    void feature(const QJsonObject& object) {
        ++number_;
        const QJsonObject properties = object.value("properties").toObject();
        const QString type = properties.value("objectType").toString("annotation");
        if (type != "annotation" && type != "detection" && type != "tile" && type != "cell") return;
        Annotation a;
        const QUuid id(object.value("id").toString());
        if (!id.isNull()) a.id = id;
        a.name = properties.value("name").toString();
        const QJsonValue classification = properties.value("classification");
        if (classification.isString()) a.className = classification.toString();
        if (classification.isObject()) {
            const QJsonObject c = classification.toObject();
            a.className = c.value("name").toString();
            if (a.className.isEmpty() && c.value("names").isArray()) {
                QStringList names;
                for (const auto& n : c.value("names").toArray()) names << n.toString();
                a.className = names.join(": ");
            }
            const QJsonArray rgb = c.value("color").toArray();
            if (rgb.size() >= 3 && !a.className.isEmpty())
                set.classColors[a.className] =
                    QColor(rgb[0].toInt() & 255, rgb[1].toInt() & 255, rgb[2].toInt() & 255);
        }
        const QJsonObject metadata = properties.value("metadata").toObject();
        a.note = metadata.value("note").toString();
        const QString shape = metadata.value("shape").toString();
        const QStringList box = metadata.value("box").toString().split(' ');
        if (box.size() == 4 && (shape == "ellipse" || shape == "rectangle")) {
            a.shape =
                shape == "ellipse" ? Annotation::Shape::Ellipse : Annotation::Shape::Rectangle;
            const QRectF r(box[0].toDouble(), box[1].toDouble(), box[2].toDouble(),
                           box[3].toDouble());
            a.points = QPolygonF({r.topLeft(), r.bottomRight()});
            keep(a);
            return;
        }
        geometry(object.value("geometry").toObject(), a, 0);
    }

    void geometry(const QJsonObject& object, Annotation a, int depth) {
        const QString type = object.value("type").toString();
        const QJsonValue at = object.value("coordinates");
        if (type == "GeometryCollection") {
            if (depth > kDeepest) fail("nested too deeply");
            for (const auto& g : object.value("geometries").toArray()) {
                geometry(g.toObject(), a, depth + 1);
                a.id = QUuid::createUuid();
            }
        } else if (type == "Point") {
            a.shape = Annotation::Shape::Point;
            a.points = QPolygonF({point(at)});
            keep(a);
        } else if (type == "MultiPoint") {
            a.shape = Annotation::Shape::Point;
            for (const auto& p : at.toArray()) {
                a.points = QPolygonF({point(p)});
                keep(a);
                a.id = QUuid::createUuid();
            }
        } else if (type == "LineString") {
            a.shape = Annotation::Shape::Line;
            a.points = line(at);
            keep(a);
        } else if (type == "MultiLineString") {
            a.shape = Annotation::Shape::Line;
            for (const auto& l : at.toArray()) {
                a.points = line(l);
                keep(a);
                a.id = QUuid::createUuid();
            }
        } else if (type == "Polygon") {
            polygon(at.toArray(), a);
        } else if (type == "MultiPolygon") {
            for (const auto& rings : at.toArray()) {
                polygon(rings.toArray(), a);
                a.id = QUuid::createUuid();
            }
        } else {
            fail("has the geometry \"" + type + "\", which is not known");
        }
    }

    void polygon(const QJsonArray& rings, Annotation& a) {
        a.shape = Annotation::Shape::Polygon;
        a.points = line(rings.at(0));
        const auto open = [](QPolygonF& ring) {
            if (ring.size() > 1 && ring.front() == ring.back()) ring.removeLast();
        };
        open(a.points);
        a.holes.clear();
        for (int i = 1; i < rings.size(); ++i) {
            QPolygonF hole = line(rings.at(i));
            open(hole);
            if (hole.size() > 2) a.holes.push_back(hole);
        }
        keep(a);
    }

    void keep(const Annotation& a) {
        if (!a.complete()) fail("has no extent");
        set.annotations.push_back(a);
        if (!a.className.isEmpty() && !set.classColors.contains(a.className))
            set.classColors[a.className] = QColor(200, 200, 200);
    }

    int number_ = 0;
};

}  // namespace

QByteArray toGeoJson(const AnnotationSet& set) {
    QJsonArray features;
    for (const auto& a : set.annotations) features.append(featureOf(a, set.classColors));
    return QJsonDocument(QJsonObject{{"type", "FeatureCollection"}, {"features", features}})
        .toJson(QJsonDocument::Compact);
}

AnnotationSet fromGeoJson(const QByteArray& text) {
    QJsonParseError error;
    const auto document = QJsonDocument::fromJson(text, &error);
    if (document.isNull())
        throw std::runtime_error(
            QString("byte %1: %2").arg(error.offset).arg(error.errorString()).toStdString());
    Reader reader;
    reader.value(document.isArray() ? QJsonValue(document.array()) : QJsonValue(document.object()),
                 0);
    return reader.set;
}

void saveAnnotations(const QString& path, const AnnotationSet& set) {
    QDir().mkpath(QFileInfo(path).absolutePath());
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly) || file.write(toGeoJson(set)) < 0 || !file.commit())
        throw std::runtime_error(path.toStdString() +
                                 ": cannot be written: " + file.errorString().toStdString());
}

AnnotationSet loadAnnotations(const QString& path) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly))
        throw std::runtime_error(path.toStdString() +
                                 ": cannot be opened: " + file.errorString().toStdString());
    if (file.size() > kMostBytes)
        throw std::runtime_error(path.toStdString() + ": is larger than 1 GiB");
    try {
        return fromGeoJson(file.readAll());
    } catch (const std::exception& error) {
        throw std::runtime_error(path.toStdString() + ": " + error.what());
    }
}

}  // namespace atlas::ui
