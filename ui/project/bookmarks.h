// SPDX-License-Identifier: Apache-2.0
// Places of an image to come back to, in a file beside its annotations.
#pragma once

#include <QPointF>
#include <QString>
#include <vector>

namespace atlas::ui {

struct Bookmark {
    QString name;
    QPointF centre;  ///< level-0 pixels
    double scale = 1, rotation = 0;
    bool operator==(const Bookmark&) const = default;
};

class Bookmarks {
  public:
    /// Reads `path` if it is there. Throws std::runtime_error; then there are none.
    void open(const QString& path);
    const std::vector<Bookmark>& all() const { return marks_; }
    /// Each change is on disk when it returns. Throws std::runtime_error.
    void add(const Bookmark& bookmark);
    void rename(size_t index, const QString& name);
    void remove(size_t index);

  private:
    void save() const;

    QString path_;
    std::vector<Bookmark> marks_;
};

}  // namespace atlas::ui
