// SPDX-License-Identifier: Apache-2.0
// A synthetic landscape with known truth: a function of position and seed, of any size.
//
// Three kinds of difference between its classes:
//  - colour (water, forest ...);
//  - fine texture alone: sand and gravel, meadow and scrub have the same colours, only the grain
//    of the pattern differs;
//  - arrangement alone: land there is divided into sections of 1024 px, as in a land survey, and
//    round fields (centre pivots) fill two of the four quarters of every section: the northern
//    two, the western two, or north-west and south-east. Fields are 320 px apart: a view smaller
//    than that holds at most one, and such views are alike in all three classes. Only a network
//    that relates places half a thousand pixels apart can tell them apart.
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
    static constexpr int64_t kRegionPx = 6144;  ///< spacing of region centres
    static constexpr int64_t kLatticePx = 512;  ///< side of a quarter section
    static constexpr double kPivotRadiusPx = 96;
    static constexpr int64_t kSurveyErrorPx = 40;  ///< each region's sections are off by up to that
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
