// SPDX-License-Identifier: Apache-2.0
#include "ui/project/bookmarks.h"

#include <QFileInfo>
#include <QJsonArray>
#include <cmath>

#include "ui/project/json_file.h"

namespace atlas::ui {

void Bookmarks::open(const QString& path) {
    path_ = path;
    marks_.clear();
    if (!QFileInfo::exists(path)) return;
    for (const auto& value : readJson(path).value("bookmarks").toArray()) {
        const QJsonObject o = value.toObject();
        const Bookmark mark{o.value("name").toString(),
                            {o.value("x").toDouble(NAN), o.value("y").toDouble(NAN)},
                            o.value("scale").toDouble(1),
                            o.value("rotation").toDouble(0)};
        if (std::isfinite(mark.centre.x()) && std::isfinite(mark.centre.y()) && mark.scale > 0)
            marks_.push_back(mark);
    }
}

void Bookmarks::add(const Bookmark& bookmark) {
    marks_.push_back(bookmark);
    save();
}

void Bookmarks::rename(size_t index, const QString& name) {
    marks_.at(index).name = name;
    save();
}

void Bookmarks::remove(size_t index) {
    marks_.erase(marks_.begin() + static_cast<std::ptrdiff_t>(index));
    save();
}

void Bookmarks::save() const {
    QJsonArray list;
    for (const auto& m : marks_)
        list.append(QJsonObject{{"name", m.name},
                                {"x", m.centre.x()},
                                {"y", m.centre.y()},
                                {"scale", m.scale},
                                {"rotation", m.rotation}});
    writeJson(path_, {{"bookmarks", list}});
}

}  // namespace atlas::ui
