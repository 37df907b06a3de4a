// SPDX-License-Identifier: Apache-2.0
// A synthetic landscape with known truth: a function of position and seed, of any size.
//
// Three kinds of difference between its classes:
//  - colour (water, forest ...);
//  - fine texture alone: sand and gravel, meadow and scrub have the same colours, only the grain
//    of the pattern differs;
//  - arrangement alone: three classes hold the same round fields (centre pivots), two in every
//    1024 x 1024 px of a lattice of 512 px: side by side, one above the other, or staggered. Any
//    view smaller than 300 px holds at most one field, and single views are distributed alike in
//    all three: only a network that relates places half a thousand pixels apart can tell.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace atlas::io {

struct SceneClass {
    const char* name;
    std::array<uint8_t, 3> color;  ///< for maps and legends
    bool arrangementOnly;
};

class SyntheticScene {
  public:
    static constexpr int kClasses = 10;
    static constexpr int64_t kRegionPx = 6144;      ///< spacing of region centres
    static constexpr int64_t kLatticePx = 512;      ///< spacing of the places for round fields
    static constexpr double kPivotRadiusPx = 96;
    static constexpr double kMetresPerPixel = 0.5;

    explicit SyntheticScene(uint64_t seed) : seed_(seed) {}

    static const std::array<SceneClass, kClasses>& classes();

    /// Class at a level-0 position.
    int classAt(int64_t x, int64_t y) const;

    /// RGB of width x height pixels, pixel (i, j) covering level-0 square
    /// [x + i*step, x + (i+1)*step): sampled at its centre, with detail finer than a pixel faded
    /// to its mean. out: [height, width, 3].
    void render(double x, double y, double step, int width, int height, uint8_t* out) const;

    /// Share of each class in a level-0 square, on a grid of `samples` x `samples` points.
    std::array<double, kClasses> shares(int64_t x, int64_t y, int64_t side, int samples = 64) const;

    /// Where a place lies in the 1024 px pattern of the fields around it, [0, 1024) each.
    std::array<int64_t, 2> pivotPhase(int64_t x, int64_t y) const;

  private:
    struct Region {
        double centreX, centreY;
        int kind;
        uint64_t hash;
    };
    struct Neighbourhood {
        std::array<Region, 9> regions;
        int64_t cellX = INT64_MIN, cellY = INT64_MIN;
    };

    Region region(int64_t cellX, int64_t cellY) const;
    const Region& regionAt(double x, double y, Neighbourhood& cache) const;
    float noise(double x, double y, double wavelength, uint64_t salt) const;

    uint64_t seed_;
};

}  // namespace atlas::io
