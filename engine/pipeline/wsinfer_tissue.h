// SPDX-License-Identifier: Apache-2.0
// Where WSInfer 0.6 finds tissue: a patch of its models is taken where its centre lies inside.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "io/color_source.h"

namespace atlas::engine {

/// A thumbnail of at most 2048 px, the median of its saturation above 7, closed by 6 x 6 px,
/// without specks below (200 um)^2 and without holes below (190 um)^2; around what is left lie
/// polygons through the middles of the border pixels.
class WsinferTissue {
  public:
    /// Throws io::ReadError.
    WsinferTissue(const io::ColorSource& image, double umPerPixel);

    /// Does a level-0 point lie inside of the polygons, and not on their edge? Quick where points
    /// are asked for row by row. One thread at a time.
    bool contains(double x, double y);
    bool empty() const { return contours_.empty(); }

  private:
    enum class Side { Inside, Edge, Outside };
    struct Contour {
        bool hole = false;
        int top = 0, bottom = 0;
        std::vector<std::array<int, 2>> points;  ///< x and y, thumbnail pixels
    };
    /// A contour along one horizontal line: where it crosses, and where it lies on it.
    struct Cut {
        std::vector<double> crossings;              ///< sorted
        std::vector<std::array<double, 2>> onLine;  ///< from and to
    };
    Cut cutAt(const Contour& contour, double y) const;
    static Side sideOf(const Cut& cut, double x);

    double scaleX_ = 1, scaleY_ = 1;  ///< level-0 pixels a thumbnail pixel
    std::vector<Contour> contours_;   ///< in the order in which they are added and taken away
    double cutY_ = -1;                ///< thumbnail pixels; that cuts_ belong to
    std::vector<Cut> cuts_;
};

}  // namespace atlas::engine
