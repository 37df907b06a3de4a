// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/stitcher.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace atlas::engine {
namespace {

io::GridRaster emptyRaster(const RunPlan& plan, double cellWidth, double cellHeight, int bands) {
    const auto cells = [](int64_t length, double cell) {
        return static_cast<int>(
            std::min<double>(std::ceil(static_cast<double>(length) / cell - 1e-6), 1e9));
    };
    io::GridRaster raster(cells(plan.region.width, cellWidth),
                          cells(plan.region.height, cellHeight), bands);
    raster.x = static_cast<double>(plan.region.x);
    raster.y = static_cast<double>(plan.region.y);
    raster.cellWidth = cellWidth;
    raster.cellHeight = cellHeight;
    std::fill(raster.values.begin(), raster.values.end(), 0.0f);
    return raster;
}

/// 1 at a context's centre, falling to a little above 0 at its border.
float centreWeight(double u, double v) {
    const double du = 1 - std::abs(2 * u - 1), dv = 1 - std::abs(2 * v - 1);
    return static_cast<float>(0.02 + std::max(0.0, du) * std::max(0.0, dv));
}

}  // namespace

/// Sums and weights of one raster.
struct Stitcher::Accumulator {
    /// Columns and rows that changed since the last snapshot; ends are exclusive.
    struct Box {
        int x0, y0, x1, y1;
    };
    io::GridRaster sum;
    std::vector<float> weight;
    std::vector<Box> changed;

    explicit Accumulator(io::GridRaster raster)
        : sum(std::move(raster)), weight(static_cast<size_t>(sum.width) * sum.height) {}

    void add(int column, int row, float w, const float* values) {
        weight[static_cast<size_t>(row) * sum.width + column] += w;
        for (int b = 0; b < sum.bands; ++b) sum.at(b, column, row) += w * values[b];
    }
    float mean(int band, int column, int row) const {
        const float w = weight[static_cast<size_t>(row) * sum.width + column];
        return w > 0 ? sum.at(band, column, row) / w : std::numeric_limits<float>::quiet_NaN();
    }
    void note(const Box& box) {
        changed.push_back(box);
        if (changed.size() < kMostBoxes) return;
        Box all = changed[0];
        for (const auto& b : changed)
            all = {std::min(all.x0, b.x0), std::min(all.y0, b.y0), std::max(all.x1, b.x1),
                   std::max(all.y1, b.y1)};
        changed = {all};
    }
    void clear() {
        std::fill(sum.values.begin(), sum.values.end(), 0.0f);
        std::fill(weight.begin(), weight.end(), 0.0f);
        changed.clear();
        if (!weight.empty()) note({0, 0, sum.width, sum.height});
    }
    static constexpr size_t kMostBoxes = 4096;
};

/// A column or row of a raster that a context answers for, and where its middle lies in the
/// context: 0 at the left or upper edge, 1 at the other.
struct Stitcher::Cell {
    int index;
    double at;
};

/// Means of a rectangle of one raster.
struct Stitcher::Patch {
    Accumulator::Box box;
    std::vector<float> values;  ///< [bands, rows, columns]

    Patch(const Accumulator& from, const Accumulator::Box& changed) : box(changed) {
        values.reserve(static_cast<size_t>(from.sum.bands) * (box.x1 - box.x0) * (box.y1 - box.y0));
        for (int b = 0; b < from.sum.bands; ++b)
            for (int row = box.y0; row < box.y1; ++row)
                for (int column = box.x0; column < box.x1; ++column)
                    values.push_back(from.mean(b, column, row));
    }
    void applyTo(io::GridRaster& raster) const {
        auto value = values.begin();
        for (int b = 0; b < raster.bands; ++b)
            for (int row = box.y0; row < box.y1; ++row)
                for (int column = box.x0; column < box.x1; ++column)
                    raster.at(b, column, row) = *value++;
    }
};

Stitcher::~Stitcher() = default;

Stitcher::Stitcher(const RunPlan& plan, const ModelConfig& model, bool attention)
    : plan_(plan), attention_(attention) {
    auto raster = emptyRaster(plan, plan.contextWidth / plan.cellsPerContext,
                              plan.contextHeight / plan.cellsPerContext,
                              static_cast<int>(model.classNames.size()));
    raster.bandNames = model.classNames;
    probabilities_ = std::make_unique<Accumulator>(std::move(raster));
    if (attention) {
        const auto tokens = model.tokenSidesPx();
        const auto patch = static_cast<double>(model.patchSizePx);
        maps_ = tokens.size();
        shares_ = model.isAtlas() ? tokens.size() : model.massNames.size();
        for (size_t k = 0; k < tokens.size(); ++k) {
            const auto token = static_cast<double>(tokens[k]);
            auto map = emptyRaster(plan, plan.contextWidth * token / patch,
                                   plan.contextHeight * token / patch, 1);
            map.bandNames = {"attention received, multiples of an even share"};
            if (k < model.mapNames.size() && !model.mapNames[k].empty())
                map.bandNames[0] += ", " + model.mapNames[k];
            received_.push_back(std::make_unique<Accumulator>(std::move(map)));
        }
        if (shares_ > 0) {
            const auto finest = static_cast<double>(tokens[0]);
            auto mass = emptyRaster(plan, plan.contextWidth * finest / patch,
                                    plan.contextHeight * finest / patch, static_cast<int>(shares_));
            for (size_t k = 0; k < shares_; ++k)
                mass.bandNames.push_back(
                    "share of attention on " +
                    (model.isAtlas() ? "scale " + std::to_string(k) : model.massNames[k]));
            mass_ = std::make_unique<Accumulator>(std::move(mass));
        }
    }
    auto empty = std::make_shared<RunLayers>();
    const auto unanswered = [](const Accumulator& a) {
        io::GridRaster result = a.sum;
        std::fill(result.values.begin(), result.values.end(),
                  std::numeric_limits<float>::quiet_NaN());
        return result;
    };
    empty->probabilities = unanswered(*probabilities_);
    for (const auto& map : received_) empty->attention.push_back(unanswered(*map));
    if (mass_) empty->mass = unanswered(*mass_);
    const auto& p = empty->probabilities;
    empty->classes = io::GridRaster(p.width, p.height, 1);
    empty->classes.x = p.x;
    empty->classes.y = p.y;
    empty->classes.cellWidth = p.cellWidth;
    empty->classes.cellHeight = p.cellHeight;
    empty->classes.bandNames = {"class"};
    std::fill(empty->classes.values.begin(), empty->classes.values.end(),
              std::numeric_limits<float>::quiet_NaN());
    last_ = std::move(empty);
}

std::vector<Stitcher::Accumulator*> Stitcher::accumulators() const {
    std::vector<Accumulator*> all{probabilities_.get()};
    for (const auto& map : received_) all.push_back(map.get());
    if (mass_) all.push_back(mass_.get());
    return all;
}

/// Columns (or rows) whose middle the context answers for. At the region's edge the middle is that
/// of the part inside.
std::vector<Stitcher::Cell> Stitcher::cellsOf(const Accumulator& into, const Context& context,
                                              bool rows) const {
    const PlaneBox box = plan_.answeredBy(context);
    const double low = rows ? box.y0 : box.x0, high = rows ? box.y1 : box.x1,
                 from = rows ? context.y : context.x,
                 length = rows ? plan_.contextHeight : plan_.contextWidth,
                 origin = rows ? into.sum.y : into.sum.x,
                 size = rows ? into.sum.cellHeight : into.sum.cellWidth,
                 end = static_cast<double>(rows ? plan_.region.bottom() : plan_.region.right());
    const int count = rows ? into.sum.height : into.sum.width;
    const int first = std::max(0, static_cast<int>((low - origin) / size) - 1);
    std::vector<Cell> cells;
    for (int i = first; i < count && origin + i * size < high; ++i) {
        const double middle = (origin + i * size + std::min(origin + (i + 1) * size, end)) / 2;
        const double at = (middle - from) / length;
        if (middle >= low && middle < high && at >= 0 && at < 1) cells.push_back({i, at});
    }
    return cells;
}

void Stitcher::addMaps(Accumulator& into, const Context& context,
                       const std::vector<const ScaleMap*>& bands) {
    const int64_t side = bands[0]->side;
    const auto columns = cellsOf(into, context, false), rows = cellsOf(into, context, true);
    if (columns.empty() || rows.empty()) return;
    std::vector<float> values(bands.size());
    const auto token = [side](double at) {
        return std::min(side - 1, static_cast<int64_t>(at * static_cast<double>(side)));
    };
    for (const auto& row : rows)
        for (const auto& column : columns) {
            const auto i = static_cast<size_t>(token(row.at) * side + token(column.at));
            float any = 0;
            for (size_t b = 0; b < bands.size(); ++b) {
                values[b] = bands[b]->values[i];
                any += values[b];
            }
            if (any <= 0) continue;  // no valid token there
            into.add(column.index, row.index,
                     plan_.isBlended() ? centreWeight(column.at, row.at) : 1, values.data());
        }
    into.note({columns.front().index, rows.front().index, columns.back().index + 1,
               rows.back().index + 1});
}

/// Class maps of one context, averaged down to the cells of the plan.
void Stitcher::addSegments(const Context& context, const std::vector<ScaleMap>& classes) {
    const int64_t cells = plan_.cellsPerContext, ratio = classes[0].side / cells;
    std::vector<ScaleMap> smaller(ratio > 1 ? classes.size() : 0);
    std::vector<const ScaleMap*> bands;
    for (size_t c = 0; c < classes.size(); ++c) {
        if (ratio > 1) {
            smaller[c].side = cells;
            smaller[c].values.assign(static_cast<size_t>(cells * cells), 0.0f);
            for (int64_t y = 0; y < cells * ratio; ++y)
                for (int64_t x = 0; x < cells * ratio; ++x)
                    smaller[c].values[static_cast<size_t>(y / ratio * cells + x / ratio)] +=
                        classes[c].values[static_cast<size_t>(y * classes[c].side + x)];
        }
        bands.push_back(ratio > 1 ? &smaller[c] : &classes[c]);
    }
    // Places without data count for nothing: what is left of a cell is a probability again.
    for (size_t i = 0; ratio > 1 && i < smaller[0].values.size(); ++i) {
        float sum = 0;
        for (const auto& map : smaller) sum += map.values[i];
        for (auto& map : smaller)
            if (sum > 0) map.values[i] /= sum;
    }
    addMaps(*probabilities_, context, bands);
}

/// Throws where maps are not what the rasters were made for: journals come from files.
void Stitcher::check(const ContextResult& result) const {
    const auto isMap = [](const ScaleMap& map) {
        return map.side > 0 && map.side <= 65536 &&
               static_cast<uint64_t>(map.side) * static_cast<uint64_t>(map.side) ==
                   map.values.size();
    };
    const auto all = [&](const std::vector<ScaleMap>& maps, size_t count, bool sameSide) {
        return maps.size() == count && std::all_of(maps.begin(), maps.end(), [&](const auto& map) {
                   return isMap(map) && (!sameSide || map.side == maps[0].side);
               });
    };
    const auto classes = static_cast<size_t>(probabilities_->sum.bands);
    const bool hasMaps = attention_ && !result.received.empty();
    if (result.probabilities.size() != classes ||
        (!result.segments.empty() && !all(result.segments, classes, true)) ||
        (hasMaps && (!all(result.received, maps_, false) || !all(result.mass, shares_, true))))
        throw std::runtime_error("an answer of the network has not the shape that its model says");
}

void Stitcher::add(const Context& context, const ContextResult& result) {
    if (result.probabilities.empty()) return;
    check(result);
    const std::lock_guard lock(mutex_);
    if (!result.segments.empty()) return addSegments(context, result.segments);
    const auto columns = cellsOf(*probabilities_, context, false),
               rows = cellsOf(*probabilities_, context, true);
    for (const auto& row : rows)
        for (const auto& column : columns)
            probabilities_->add(column.index, row.index,
                                plan_.isBlended() ? centreWeight(column.at, row.at) : 1,
                                result.probabilities.data());
    if (!columns.empty() && !rows.empty())
        probabilities_->note({columns.front().index, rows.front().index, columns.back().index + 1,
                              rows.back().index + 1});
    if (!attention_ || result.received.empty()) return;
    for (size_t k = 0; k < received_.size(); ++k)
        addMaps(*received_[k], context, {&result.received[k]});
    if (!mass_) return;
    std::vector<const ScaleMap*> mass;
    for (const auto& map : result.mass) mass.push_back(&map);
    addMaps(*mass_, context, mass);
}

void Stitcher::startAgain() {
    snapshot();  // what is seen until thaw()
    const std::lock_guard lock(mutex_);
    frozen_ = true;
    for (auto* accumulator : accumulators()) accumulator->clear();
}

void Stitcher::thaw() {
    const std::lock_guard lock(mutex_);
    frozen_ = false;
}

std::shared_ptr<const RunLayers> Stitcher::snapshot() const {
    const std::lock_guard one(snapshotMutex_);
    const auto from = accumulators();
    std::vector<std::vector<Patch>> patches(from.size());
    {
        const std::lock_guard lock(mutex_);
        if (frozen_) return last_;
        for (size_t i = 0; i < from.size(); ++i) {
            for (const auto& box : from[i]->changed) patches[i].emplace_back(*from[i], box);
            from[i]->changed.clear();
        }
    }
    if (std::all_of(patches.begin(), patches.end(), [](const auto& p) { return p.empty(); }))
        return last_;
    auto next = std::make_shared<RunLayers>(*last_);
    std::vector<io::GridRaster*> into{&next->probabilities};
    for (auto& map : next->attention) into.push_back(&map);
    if (mass_) into.push_back(&next->mass);
    for (size_t i = 0; i < into.size(); ++i)
        for (const auto& patch : patches[i]) patch.applyTo(*into[i]);
    const auto& p = next->probabilities;
    for (const auto& patch : patches[0])
        for (int row = patch.box.y0; row < patch.box.y1; ++row)
            for (int column = patch.box.x0; column < patch.box.x1; ++column) {
                int best = 0;
                for (int b = 1; b < p.bands; ++b)
                    if (p.at(b, column, row) > p.at(best, column, row)) best = b;
                next->classes.at(0, column, row) = std::isnan(p.at(0, column, row))
                                                       ? std::numeric_limits<float>::quiet_NaN()
                                                       : static_cast<float>(best);
            }
    last_ = next;
    return last_;
}

}  // namespace atlas::engine
