// SPDX-License-Identifier: Apache-2.0
#include "io/synthetic/scene.h"

#include <algorithm>
#include <cmath>

namespace atlas::io {
namespace {

uint64_t mix(uint64_t x) {  // splitmix64's finaliser
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t hashCell(uint64_t seed, int64_t x, int64_t y) {
    return mix(seed + mix(static_cast<uint64_t>(x) * 0x9e3779b97f4a7c15ull +
                          mix(static_cast<uint64_t>(y) + 0x632be59bd9b4e019ull)));
}

float unit(uint64_t hash) {
    return static_cast<float>(hash >> 40) * (1.0f / 16777216.0f);
}

using Color = std::array<float, 3>;

/// Ground of a class: two colours blended by noise of two wavelengths.
struct Ground {
    Color dark, bright;
    double wavelength;  // px, of the pattern
    float contrast;
};

constexpr Color kSandDark{176, 152, 112}, kSandBright{228, 208, 168};
constexpr Color kMeadowDark{96, 136, 64}, kMeadowBright{164, 196, 112};
constexpr Color kSoilDark{120, 98, 78}, kSoilBright{150, 124, 100};

const std::array<Ground, SyntheticScene::kClasses> kGrounds{{
    {{36, 76, 128}, {56, 104, 156}, 48, 1.0f},     // water
    {kSandDark, kSandBright, 5, 1.0f},             // sand: fine grain
    {kSandDark, kSandBright, 18, 1.0f},            // gravel: the same colours, coarse grain
    {kMeadowDark, kMeadowBright, 6, 1.0f},         // meadow: fine
    {kMeadowDark, kMeadowBright, 24, 1.0f},        // scrub: the same colours, coarse
    {{16, 56, 28}, {44, 96, 48}, 36, 1.0f},        // forest
    {{150, 150, 156}, {204, 202, 204}, 12, 1.0f},  // built-up
    {kSoilDark, kSoilBright, 10, 1.0f},            // pivots: the same soil
    {kSoilDark, kSoilBright, 10, 1.0f},
    {kSoilDark, kSoilBright, 10, 1.0f},
}};

constexpr Color kPivot{72, 148, 60};

/// Whether a quarter section holds a field. Arrangement 0: the northern two, 1: the western two,
/// 2: north-west and south-east.
bool holdsPivot(int arrangement, int64_t column, int64_t row) {
    const int64_t east = column & 1, south = row & 1;
    return arrangement == 0 ? south == 0 : arrangement == 1 ? east == 0 : east == south;
}

float smooth(float t) {
    return t * t * (3 - 2 * t);
}

/// How much of a pattern of that wavelength is left when a pixel covers `step` px.
float fade(double wavelength, double step) {
    return static_cast<float>(std::clamp(wavelength / (2 * step) - 0.25, 0.0, 1.0));
}

}  // namespace

const std::array<SceneClass, SyntheticScene::kClasses>& SyntheticScene::classes() {
    static const std::array<SceneClass, kClasses> table{
        {{"water", {0, 114, 178}, false},
         {"sand", {240, 228, 66}, false},
         {"gravel", {230, 159, 0}, false},
         {"meadow", {144, 210, 96}, false},
         {"scrub", {0, 158, 115}, false},
         {"forest", {0, 92, 60}, false},
         {"built-up", {150, 150, 150}, false},
         {"pivots in rows", {213, 94, 0}, true},
         {"pivots in columns", {204, 121, 167}, true},
         {"pivots staggered", {86, 180, 233}, true}}};
    return table;
}

SyntheticScene::Region SyntheticScene::region(int64_t cellX, int64_t cellY) const {
    const uint64_t h = hashCell(seed_, cellX, cellY);
    const auto spread = static_cast<double>(kRegionPx);
    // Neighbouring cells run through the classes in different orders, so that all occur.
    const int kind = static_cast<int>(mix(h ^ 0x5bd1e995) % kClasses);
    return {(static_cast<double>(cellX) + 0.25 + 0.5 * unit(h)) * spread,
            (static_cast<double>(cellY) + 0.25 + 0.5 * unit(mix(h + 1))) * spread, kind, h};
}

const SyntheticScene::Region& SyntheticScene::regionAt(double x, double y,
                                                       Neighbourhood& cache) const {
    // Borders are bent by slow noise; the same bend for every class.
    const double bentX = x + 300.0 * (noise(x, y, 1500, 11) - 0.5);
    const double bentY = y + 300.0 * (noise(x, y, 1500, 12) - 0.5);
    const auto cellX = static_cast<int64_t>(std::floor(bentX / kRegionPx));
    const auto cellY = static_cast<int64_t>(std::floor(bentY / kRegionPx));
    if (cellX != cache.cellX || cellY != cache.cellY) {
        for (int j = 0; j < 3; ++j)
            for (int i = 0; i < 3; ++i)
                cache.regions[static_cast<size_t>(3 * j + i)] =
                    region(cellX + i - 1, cellY + j - 1);
        cache.cellX = cellX;
        cache.cellY = cellY;
    }
    const Region* nearest = &cache.regions[0];
    double best = 1e300;
    for (const auto& candidate : cache.regions) {
        const double dx = candidate.centreX - bentX, dy = candidate.centreY - bentY;
        if (dx * dx + dy * dy < best) {
            best = dx * dx + dy * dy;
            nearest = &candidate;
        }
    }
    return *nearest;
}

float SyntheticScene::noise(double x, double y, double wavelength, uint64_t salt) const {
    const double u = x / wavelength, v = y / wavelength;
    const auto i = static_cast<int64_t>(std::floor(u)), j = static_cast<int64_t>(std::floor(v));
    const float s = smooth(static_cast<float>(u - static_cast<double>(i)));
    const float t = smooth(static_cast<float>(v - static_cast<double>(j)));
    const uint64_t salted = seed_ ^ mix(salt);
    const float a = unit(hashCell(salted, i, j)), b = unit(hashCell(salted, i + 1, j));
    const float c = unit(hashCell(salted, i, j + 1)), d = unit(hashCell(salted, i + 1, j + 1));
    return (a + (b - a) * s) * (1 - t) + (c + (d - c) * s) * t;
}

int SyntheticScene::classAt(int64_t x, int64_t y) const {
    Neighbourhood cache;
    return regionAt(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5, cache).kind;
}

namespace {

/// Value noise along one row: lattice corners are hashed once a cell instead of once a pixel.
class NoiseRow {
  public:
    NoiseRow(uint64_t salted, double y, double wavelength)
        : salted_(salted), wavelength_(wavelength) {
        const double v = y / wavelength;
        j_ = static_cast<int64_t>(std::floor(v));
        t_ = smooth(static_cast<float>(v - static_cast<double>(j_)));
    }
    float at(double x) {
        const double u = x / wavelength_;
        const auto i = static_cast<int64_t>(std::floor(u));
        if (i != i_) {
            left_ = i == i_ + 1 ? right_ : column(i);
            right_ = column(i + 1);
            i_ = i;
        }
        return left_ + (right_ - left_) * smooth(static_cast<float>(u - static_cast<double>(i)));
    }

  private:
    float column(int64_t i) const {
        const float a = unit(hashCell(salted_, i, j_)), c = unit(hashCell(salted_, i, j_ + 1));
        return a + (c - a) * t_;
    }
    uint64_t salted_;
    double wavelength_;
    int64_t i_ = INT64_MIN / 2, j_;
    float t_, left_ = 0, right_ = 0;
};

}  // namespace

void SyntheticScene::render(double x0, double y0, double step, int width, int height,
                            uint8_t* out) const {
    constexpr int kRun = 16;  // pixels that share one look at the region map, at full resolution
    const int run = step <= 1 ? kRun : 1;
    Neighbourhood cache;
    std::vector<NoiseRow> rows;
    for (int row = 0; row < height; ++row) {
        const double y = y0 + (row + 0.5) * step;
        rows.clear();
        for (size_t c = 0; c < kClasses; ++c)
            rows.emplace_back(seed_ ^ mix(100 + static_cast<uint64_t>(kGrounds[c].wavelength)), y,
                              kGrounds[c].wavelength);
        NoiseRow fine(seed_ ^ mix(200), y, 2.5);
        uint8_t* pixel = out + static_cast<size_t>(row) * width * 3;
        for (int first = 0; first < width; first += run) {
            const int last = std::min(first + run, width);
            const double middle = x0 + (first + last) * 0.5 * step;
            const Region& here = regionAt(middle, y, cache);
            const auto kind = static_cast<size_t>(here.kind);
            const Ground& ground = kGrounds[kind];
            const float pattern = ground.contrast * fade(ground.wavelength, step);
            const float grain = 0.25f * fade(2.5, step);
            const bool pivots = classes()[kind].arrangementOnly;
            const auto surveyError = [](uint64_t hash) {
                return static_cast<double>(static_cast<int64_t>(hash % (2 * kSurveyErrorPx + 1)) -
                                           kSurveyErrorPx);
            };
            const double shiftX = surveyError(here.hash), shiftY = surveyError(here.hash >> 16);
            for (int column = first; column < last; ++column, pixel += 3) {
                const double x = x0 + (column + 0.5) * step;
                // Stretch the noise around its middle: light and dark patches with clear edges.
                float t = std::clamp((rows[kind].at(x) - 0.5f) * 2.2f + 0.5f, 0.0f, 1.0f);
                t = 0.5f + (t - 0.5f) * pattern + (fine.at(x) - 0.5f) * grain;
                Color color;
                for (size_t c = 0; c < 3; ++c)
                    color[c] = ground.dark[c] + (ground.bright[c] - ground.dark[c]) * t;
                if (pivots) {
                    const double u = x + shiftX, v = y + shiftY;
                    const double cellX = std::floor(u / kLatticePx),
                                 cellY = std::floor(v / kLatticePx);
                    const double dx = u - (cellX + 0.5) * kLatticePx;
                    const double dy = v - (cellY + 0.5) * kLatticePx;
                    const auto cover = static_cast<float>(std::clamp(
                        (kPivotRadiusPx - std::sqrt(dx * dx + dy * dy)) / std::max(step, 2.0) + 0.5,
                        0.0, 1.0));
                    if (cover > 0 &&
                        holdsPivot(here.kind - (kClasses - 3), static_cast<int64_t>(cellX),
                                   static_cast<int64_t>(cellY))) {
                        const float shade = 0.82f + 0.36f * t;
                        for (size_t c = 0; c < 3; ++c)
                            color[c] += cover * (kPivot[c] * shade - color[c]);
                    }
                }
                for (size_t c = 0; c < 3; ++c)
                    pixel[c] = static_cast<uint8_t>(std::clamp(color[c] + 0.5f, 0.0f, 255.0f));
            }
        }
    }
}

std::array<double, SyntheticScene::kClasses> SyntheticScene::shares(int64_t x, int64_t y,
                                                                    int64_t side,
                                                                    int samples) const {
    std::array<double, kClasses> result{};
    Neighbourhood cache;
    const double step = static_cast<double>(side) / samples;
    for (int j = 0; j < samples; ++j)
        for (int i = 0; i < samples; ++i)
            result[static_cast<size_t>(regionAt(static_cast<double>(x) + (i + 0.5) * step,
                                                static_cast<double>(y) + (j + 0.5) * step, cache)
                                           .kind)] += 1.0 / (samples * samples);
    return result;
}

}  // namespace atlas::io
