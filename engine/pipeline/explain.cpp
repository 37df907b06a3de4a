// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/explain.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <random>
#include <stdexcept>

#include "engine/pipeline/context_reader.h"

namespace atlas::engine {
namespace {

constexpr int kSteps = 10;
constexpr int64_t kFinestTokenPx = 16;
constexpr int64_t kOcclusionCells = 8;  // a side

double cellSize(int64_t tokenPx, int64_t side, double length) {
    return length * static_cast<double>(tokenPx) / static_cast<double>(side);
}

io::GridRaster rasterOver(const ContextView& context, int64_t rows, int64_t columns, int bands,
                          int64_t tokenPx, int64_t side) {
    io::GridRaster raster(static_cast<int>(columns), static_cast<int>(rows), bands);
    raster.x = context.x;
    raster.y = context.y;
    raster.cellWidth = cellSize(tokenPx, side, context.width);
    raster.cellHeight = cellSize(tokenPx, side, context.height);
    return raster;
}

/// The region in the context's own pixels, cut to it.
cv::Rect insideContext(const io::Rect& region, const ContextView& context, int64_t side) {
    const auto scaled = [side](double at, double origin, double length) {
        return static_cast<int>(
            std::lround(std::clamp((at - origin) / length, 0.0, 1.0) * static_cast<double>(side)));
    };
    const int x0 = scaled(static_cast<double>(region.x), context.x, context.width),
              x1 = scaled(static_cast<double>(region.right()), context.x, context.width),
              y0 = scaled(static_cast<double>(region.y), context.y, context.height),
              y1 = scaled(static_cast<double>(region.bottom()), context.y, context.height);
    return {x0, y0, x1 - x0, y1 - y0};
}

/// [side, side], contiguous: 1 where a pixel of the context is in the region.
cv::Mat regionMask(const WhatIf& change, const ContextView& context, int64_t side) {
    cv::Mat mask = cv::Mat::zeros(static_cast<int>(side), static_cast<int>(side), CV_8U);
    if (change.outline.empty()) {
        const cv::Rect rect = insideContext(change.region, context, side);
        if (rect.width > 0 && rect.height > 0) mask(rect).setTo(1);
        return mask;
    }
    std::vector<std::vector<cv::Point>> rings;
    constexpr int kShift = 4;  // fillPoly's fractional bits
    const double scale = static_cast<double>(side) * (1 << kShift);
    for (const auto& ring : change.outline) {
        rings.emplace_back();
        for (const auto& p : ring) {
            // Far outside is far enough: fillPoly counts in 32 bits.
            const double x = std::clamp((p[0] - context.x) / context.width, -8.0, 9.0),
                         y = std::clamp((p[1] - context.y) / context.height, -8.0, 9.0);
            rings.back().emplace_back(static_cast<int>(std::lround(x * scale)),
                                      static_cast<int>(std::lround(y * scale)));
        }
    }
    cv::fillPoly(mask, rings, cv::Scalar(1), cv::LINE_8, kShift);
    return mask;
}

/// The finest tokens that stay: `any`: without a pixel inside; else with less than half of them.
std::vector<uint8_t> tokensOutside(const cv::Mat& inside, int64_t side, bool any) {
    const int64_t tokens = (side + kFinestTokenPx - 1) / kFinestTokenPx;
    std::vector<uint8_t> mask(static_cast<size_t>(tokens * tokens), 1);
    for (int64_t row = 0; row < tokens; ++row)
        for (int64_t column = 0; column < tokens; ++column) {
            const cv::Rect cell(
                static_cast<int>(column * kFinestTokenPx), static_cast<int>(row * kFinestTokenPx),
                static_cast<int>(std::min(kFinestTokenPx, side - column * kFinestTokenPx)),
                static_cast<int>(std::min(kFinestTokenPx, side - row * kFinestTokenPx)));
            const int covered = cv::countNonZero(inside(cell));
            if (covered > (any ? 0 : cell.area() / 2))
                mask[static_cast<size_t>(row * tokens + column)] = 0;
        }
    return mask;
}

/// Copies `count` pixels in a row.
void copyPixels(const ContextPixels& from, ContextPixels& to, int64_t first, int64_t count) {
    std::copy_n(from.rgba.begin() + 4 * first, 4 * count, to.rgba.begin() + 4 * first);
    const auto bands = static_cast<int64_t>(from.values.size() / (from.rgba.size() / 4));
    std::copy_n(from.values.begin() + bands * first, bands * count,
                to.values.begin() + bands * first);
}

void copyRect(const ContextPixels& from, ContextPixels& to, const cv::Rect& rect, int64_t side) {
    for (int y = rect.y; y < rect.y + rect.height; ++y)
        copyPixels(from, to, y * side + rect.x, rect.width);
}

/// A ranking of the cells of one map over the context.
struct Ranking {
    std::string map;
    int scale = 0;
    int64_t tokenPx = 0, columns = 0;
    std::vector<size_t> order;  ///< best first
};

std::vector<size_t> descending(const std::vector<float>& values) {
    std::vector<size_t> order;
    for (size_t i = 0; i < values.size(); ++i)
        if (!std::isnan(values[i])) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return values[a] > values[b]; });
    return order;
}

std::vector<Ranking> rankingsOf(const Classifier& classifier, const ContextPixels& pixels,
                                size_t& answer, double& probability) {
    const auto tokens = classifier.config().tokenSidesPx();
    const ContextResult attention = classifier.classify({pixels}, true).at(0);
    AnalysisRequest request;
    request.contributions = true;
    const ContextAnalysis analysis = classifier.analyse(pixels, request);
    answer = static_cast<size_t>(
        std::max_element(attention.probabilities.begin(), attention.probabilities.end()) -
        attention.probabilities.begin());
    probability = attention.probabilities[answer];
    std::vector<Ranking> rankings;
    for (size_t k = 0; k < attention.received.size(); ++k)
        rankings.push_back({"attention", static_cast<int>(k), tokens[k], attention.received[k].side,
                            descending(attention.received[k].values)});
    for (const auto& grid : analysis.contributions) {
        const auto cells = static_cast<size_t>(grid.rows * grid.columns);
        const auto first = grid.values.begin() + static_cast<std::ptrdiff_t>(answer * cells);
        rankings.push_back({"contributions", grid.scale, tokens[static_cast<size_t>(grid.scale)],
                            grid.columns,
                            descending({first, first + static_cast<std::ptrdiff_t>(cells)})});
    }
    return rankings;
}

/// Probability of `answer` with 10 to 100 % of the places blurred, in that order.
std::vector<double> curveOf(const Classifier& classifier, const ContextPixels& sharp,
                            const ContextPixels& blurry, const Ranking& places, size_t answer,
                            double before) {
    const int64_t side = classifier.config().patchSizePx;
    std::vector<ContextPixels> steps;
    ContextPixels now = sharp;
    size_t done = 0;
    for (int step = 1; step <= kSteps; ++step) {
        const size_t until = places.order.size() * static_cast<size_t>(step) / kSteps;
        for (; done < until; ++done) {
            const auto cell = static_cast<int64_t>(places.order[done]);
            const cv::Rect rect(static_cast<int>(cell % places.columns * places.tokenPx),
                                static_cast<int>(cell / places.columns * places.tokenPx),
                                static_cast<int>(places.tokenPx), static_cast<int>(places.tokenPx));
            copyRect(blurry, now,
                     rect & cv::Rect(0, 0, static_cast<int>(side), static_cast<int>(side)), side);
        }
        steps.push_back(now);
    }
    std::vector<double> curve{before};
    for (const auto& result : classifier.classify(steps, false))
        curve.push_back(result.probabilities.at(answer));
    return curve;
}

/// Mean of a curve over 0 to 100 %, by trapezes.
double areaUnder(const std::vector<double>& curve) {
    double sum = 0;
    for (size_t i = 1; i < curve.size(); ++i) sum += (curve[i - 1] + curve[i]) / 2;
    return sum / static_cast<double>(curve.size() - 1);
}

/// 97.5 % quantile of Student's t; 1.96 beyond the table.
double studentT(size_t freedom) {
    constexpr double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120};
    return freedom >= 1 && freedom <= std::size(table) ? table[freedom - 1] : 1.96;
}

/// What was measured of one map, context by context.
struct Samples {
    FaithfulnessCurve curve;
    std::vector<std::vector<double>> ranked, random;
    std::vector<double> gains;
};

FaithfulnessCurve summary(const Samples& samples) {
    FaithfulnessCurve curve = samples.curve;
    const auto column = [](const std::vector<std::vector<double>>& curves, size_t i) {
        std::vector<double> values;
        for (const auto& c : curves) values.push_back(c[i]);
        std::sort(values.begin(), values.end());
        return values;
    };
    const auto mean = [](const std::vector<double>& v) {
        return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
    };
    for (size_t i = 0; i <= kSteps; ++i) {
        curve.ranked.push_back(mean(column(samples.ranked, i)));
        const auto random = column(samples.random, i);
        curve.random.push_back(mean(random));
        curve.randomLow.push_back(random[random.size() / 10]);
        curve.randomHigh.push_back(random[random.size() - 1 - random.size() / 10]);
    }
    curve.gain = mean(samples.gains);
    double square = 0;
    for (double g : samples.gains) square += (g - curve.gain) * (g - curve.gain);
    const auto n = static_cast<double>(samples.gains.size());
    const double half =
        n > 1 ? studentT(samples.gains.size() - 1) * std::sqrt(square / (n - 1) / n) : 1;
    curve.gainLow = curve.gain - half;
    curve.gainHigh = curve.gain + half;
    return curve;
}

/// Fills `map` and `label` of a result whose context is there: a row of squares at once.
void occlude(const Classifier& classifier, int label, SaliencyResult& result) {
    const auto& view = result.context;
    const auto before = classifier.classify({view.pixels}, false).at(0).probabilities;
    if (before.empty()) throw std::runtime_error("there is no data in this context");
    const auto best = std::max_element(before.begin(), before.end()) - before.begin();
    result.label = label < 0 ? static_cast<int>(best) : label;
    const auto asked = static_cast<size_t>(result.label);
    const ContextPixels blurry = blurred(view.pixels, view.side);
    const auto edge = [&](int64_t cell) {
        return static_cast<int>(cell * view.side / kOcclusionCells);
    };
    for (int64_t row = 0; row < kOcclusionCells; ++row) {
        std::vector<ContextPixels> squares;
        for (int64_t column = 0; column < kOcclusionCells; ++column) {
            squares.push_back(view.pixels);
            copyRect(blurry, squares.back(),
                     {edge(column), edge(row), edge(column + 1) - edge(column),
                      edge(row + 1) - edge(row)},
                     view.side);
        }
        const auto answers = classifier.classify(squares, false);
        for (size_t i = 0; i < answers.size(); ++i)
            result.map.at(0, static_cast<int>(i), static_cast<int>(row)) =
                before.at(asked) - answers[i].probabilities.at(asked);
    }
}

}  // namespace

ContextView contextAt(const io::ColorSource& image, const ModelConfig& model,
                      const RunRequest& asked, double x, double y) {
    if (asked.wholeImage)
        throw std::runtime_error(
            "the probe and its companions look into contexts of the model's size; a run over the "
            "area as one has attention and contribution layers instead");
    RunRequest request = asked;
    request.mask = false;
    const RunPlan plan = planRun(image, model, request);
    const auto& r = plan.region;
    if (x < static_cast<double>(r.x) || y < static_cast<double>(r.y) ||
        x >= static_cast<double>(r.right()) || y >= static_cast<double>(r.bottom()))
        throw std::runtime_error("the point lies outside of the classified region");
    const Context context = plan.contextOver(x, y);
    ContextView view;
    view.width = plan.contextWidth;
    view.height = plan.contextHeight;
    view.x = context.x;
    view.y = context.y;
    view.side = plan.contextPx;
    view.pixels = readContext(image, model, {view.x, view.y, view.width, view.height}, view.side);
    return view;
}

ProbeResult probeAt(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& request, const ProbeWhere& where, double x, double y) {
    const auto& model = classifier.config();
    const auto tokens = model.tokenSidesPx();
    if (where.scale < 0 || static_cast<size_t>(where.scale) >= tokens.size())
        throw std::runtime_error("the model has no scale " + std::to_string(where.scale));
    const ContextView context = contextAt(image, model, request, x, y);
    const int64_t side = model.patchSizePx;
    ProbeResult result;
    result.contextX = context.x;
    result.contextY = context.y;
    result.contextWidth = context.width;
    result.contextHeight = context.height;
    result.token = rasterOver(context, 1, 1, 1, tokens[static_cast<size_t>(where.scale)], side);
    const auto column = static_cast<int64_t>((x - context.x) / result.token.cellWidth),
               row = static_cast<int64_t>((y - context.y) / result.token.cellHeight);
    result.token.values[0] = 1;
    result.token.x += static_cast<double>(column) * result.token.cellWidth;
    result.token.y += static_cast<double>(row) * result.token.cellHeight;
    AnalysisRequest asked;
    asked.probe = ProbePoint{where.scale, row, column, where.stage, where.block, where.head};
    auto analysis = classifier.analyse(context.pixels, asked);
    if (analysis.probe.empty()) throw std::runtime_error("there is no data under the point");
    double all = 0;
    for (size_t k = 0; k < analysis.probe.size(); ++k) {
        auto& map = analysis.probe[k];
        io::GridRaster raster;
        if (map.side > 0) {
            raster = rasterOver(context, map.side, map.side, 1, tokens[k], side);
            raster.values = std::move(map.values);
        }
        result.mass.push_back(std::accumulate(raster.values.begin(), raster.values.end(), 0.0));
        all += result.mass.back();
        result.scales.push_back(std::move(raster));
    }
    if (!(all > 0))
        throw std::runtime_error(
            "there is no data under the point, or that block does not hold "
            "its scale");
    return result;
}

ContributionResult contributionsAt(const io::ColorSource& image, const Classifier& classifier,
                                   const RunRequest& request, double x, double y) {
    const auto& model = classifier.config();
    ContributionResult result;
    result.context = contextAt(image, model, request, x, y);
    AnalysisRequest asked;
    asked.contributions = true;
    auto analysis = classifier.analyse(result.context.pixels, asked);
    if (analysis.logits.empty()) throw std::runtime_error("there is no data in this context");
    if (analysis.contributions.empty())
        throw std::runtime_error(
            model.name + ": the scores of this network do not split into places; only Atlas's do");
    result.logits = std::move(analysis.logits);
    result.probabilities = std::move(analysis.probabilities);
    result.baseline = std::move(analysis.baseline);
    for (auto& grid : analysis.contributions) {
        io::GridRaster raster =
            rasterOver(result.context, grid.rows, grid.columns, grid.bands,
                       model.tokenSidesPx().at(static_cast<size_t>(grid.scale)), model.patchSizePx);
        raster.values = std::move(grid.values);
        result.scales.push_back(grid.scale);
        result.maps.push_back(std::move(raster));
    }
    return result;
}

FlowResult flowAt(const io::ColorSource& image, const Classifier& classifier,
                  const RunRequest& request, double x, double y) {
    const auto& model = classifier.config();
    const auto tokens = model.tokenSidesPx();
    FlowResult result;
    result.context = contextAt(image, model, request, x, y);
    AnalysisRequest asked;
    asked.flow = true;
    auto analysis = classifier.analyse(result.context.pixels, asked);
    if (analysis.logits.empty()) throw std::runtime_error("there is no data in this context");
    for (auto& depth : analysis.flow) {
        FlowResult::Depth d{depth.stage, depth.block, {}};
        for (size_t k = 0; k < depth.maps.size(); ++k) {
            auto& map = depth.maps[k];
            io::GridRaster raster;
            if (map.side > 0) {
                raster = rasterOver(result.context, map.side, map.side, 1, tokens.at(k),
                                    model.patchSizePx);
                raster.values = std::move(map.values);
            }
            d.scales.push_back(std::move(raster));
        }
        result.depths.push_back(std::move(d));
    }
    return result;
}

ContextPixels blurred(const ContextPixels& context, int64_t side) {
    ContextPixels result = context;
    const int n = static_cast<int>(side);
    cv::Mat all(n, n, CV_8UC4, result.rgba.data());
    cv::Mat smooth;
    cv::GaussianBlur(all, smooth, {0, 0}, static_cast<double>(side) / 16, 0, cv::BORDER_REFLECT);
    for (size_t i = 0; i < result.rgba.size(); ++i)  // where there is no data there stays none
        if (i % 4 != 3) result.rgba[i] = smooth.data[i];
    const size_t bands = result.values.size() / (result.rgba.size() / 4);
    for (size_t b = 0; b < bands; ++b) {
        cv::Mat plane(n, n, CV_32F);
        for (size_t i = 0; i < plane.total(); ++i)
            plane.at<float>(static_cast<int>(i) / n, static_cast<int>(i) % n) =
                context.values[bands * i + b];
        cv::GaussianBlur(plane, smooth, {0, 0}, static_cast<double>(side) / 16, 0,
                         cv::BORDER_REFLECT);
        for (size_t i = 0; i < plane.total(); ++i)
            result.values[bands * i + b] =
                smooth.at<float>(static_cast<int>(i) / n, static_cast<int>(i) % n);
    }
    return result;
}

SaliencyResult saliencyAt(const io::ColorSource& image, const Classifier& classifier,
                          const RunRequest& request, Saliency kind, int label, double x, double y) {
    SaliencyResult result;
    if (label >= static_cast<int>(classifier.config().classNames.size()))
        throw std::runtime_error("there is no class " + std::to_string(label));
    result.context = contextAt(image, classifier.config(), request, x, y);
    const auto& view = result.context;
    const auto raster = [&](int64_t cells) {
        return rasterOver(view, cells, cells, 1, view.side, view.side * cells);
    };
    if (kind != Saliency::Occlusion) {
        AnalysisRequest asked;
        asked.gradient = kind == Saliency::GradCam ? GradientMap::GradCam : GradientMap::Input;
        asked.gradientClass = label;
        const auto analysis = classifier.analyse(view.pixels, asked);
        if (analysis.probabilities.empty())
            throw std::runtime_error("there is no data in this context");
        if (analysis.gradient.side == 0)
            throw std::runtime_error(classifier.config().name +
                                     ": Atlas shows its attention and contributions; of these maps "
                                     "it has occlusion alone");
        result.method = kind == Saliency::GradCam ? "Grad-CAM" : "input gradient";
        result.label = analysis.gradientClass;
        result.map = raster(analysis.gradient.side);
        result.map.values = analysis.gradient.values;
        return result;
    }
    result.method = "occlusion";
    result.map = raster(kOcclusionCells);
    occlude(classifier, label, result);
    return result;
}

WhatIfResult whatIf(const io::ColorSource& image, const Classifier& classifier,
                    const RunRequest& request, const WhatIf& change, double x, double y) {
    const auto& model = classifier.config();
    WhatIfResult result;
    result.context = contextAt(image, model, request, x, y);
    const int64_t side = result.context.side;
    AnalysisRequest asked;
    result.before = classifier.analyse(result.context.pixels, asked).probabilities;
    if (result.before.empty()) throw std::runtime_error("there is no data in this context");
    ContextPixels pixels = result.context.pixels;
    const auto size = [&](int64_t modelPx) {
        return lengthText(static_cast<double>(modelPx) * model.spacingUmPx, model.ground);
    };
    if (change.change == WhatIf::Change::ScaleOff) {
        asked.scaleOff = change.scale;
        const auto tokens = model.tokenSidesPx();
        if (change.scale < 0 || static_cast<size_t>(change.scale) >= tokens.size())
            throw std::runtime_error("the model has no scale " + std::to_string(change.scale));
        result.change = "no other scale sees scale " + std::to_string(change.scale) + " (" +
                        size(tokens[static_cast<size_t>(change.scale)]) + ")";
    } else {
        const cv::Mat inside = regionMask(change, result.context, side);
        const cv::Rect box = cv::boundingRect(inside);
        if (box.width < 1 || box.height < 1)
            throw std::runtime_error("the region does not touch this context");
        const std::string area = (change.outline.empty() ? "" : "drawn shape within ") +
                                 size(box.width) + " x " + size(box.height);
        if (change.change == WhatIf::Change::Blur) {
            const ContextPixels soft = blurred(pixels, side);
            for (size_t i = 0; i < static_cast<size_t>(side * side); ++i)
                if (inside.data[i]) copyPixels(soft, pixels, static_cast<int64_t>(i), 1);
            result.change = "region of " + area + " blurred";
        } else {
            asked.tokenMask = tokensOutside(inside, side, change.outline.empty());
            result.change = "tokens in a region of " + area + " left out";
        }
    }
    result.after = classifier.analyse(pixels, asked).probabilities;
    return result;
}

FaithfulnessResult faithfulness(const io::ColorSource& image, const Classifier& classifier,
                                const RunRequest& request, const FaithfulnessOptions& options,
                                std::stop_token stop, const std::function<void(double)>& progress) {
    const auto& model = classifier.config();
    RunRequest plain = request;
    if (plain.wholeImage)
        throw std::runtime_error("faithfulness is measured on contexts of the model's size");
    const RunPlan plan = planRun(image, model, plain);
    const int64_t side = model.patchSizePx;
    const size_t count =
        std::min(plan.contexts.size(), static_cast<size_t>(std::max(2, options.contexts)));
    if (count < 2)
        throw std::runtime_error("faithfulness needs at least two contexts; this run has " +
                                 std::to_string(count));
    std::mt19937_64 random(options.seed);
    std::vector<Samples> all;
    FaithfulnessResult result;
    result.randomOrders = options.randomOrders;
    for (size_t n = 0; n < count; ++n) {
        const auto& context = plan.contexts[(2 * n + 1) * plan.contexts.size() / (2 * count)];
        const ContextPixels sharp =
            readContext(image, classifier.config(),
                        {context.x, context.y, plan.contextWidth, plan.contextHeight}, side);
        if (std::none_of(sharp.rgba.begin(), sharp.rgba.end(), [](uint8_t v) { return v > 0; }))
            continue;
        const ContextPixels blurry = blurred(sharp, side);
        size_t answer = 0;
        double before = 0;
        const auto rankings = rankingsOf(classifier, sharp, answer, before);
        all.resize(rankings.size());
        for (size_t i = 0; i < rankings.size(); ++i) {
            auto& samples = all[i];
            samples.curve.map = rankings[i].map;
            samples.curve.scale = rankings[i].scale;
            samples.ranked.push_back(
                curveOf(classifier, sharp, blurry, rankings[i], answer, before));
            double randomArea = 0;
            for (int r = 0; r < options.randomOrders; ++r) {
                if (stop.stop_requested()) return {};
                Ranking shuffled = rankings[i];
                std::shuffle(shuffled.order.begin(), shuffled.order.end(), random);
                samples.random.push_back(
                    curveOf(classifier, sharp, blurry, shuffled, answer, before));
                randomArea += areaUnder(samples.random.back()) / options.randomOrders;
            }
            samples.gains.push_back(randomArea - areaUnder(samples.ranked.back()));
            progress((static_cast<double>(n) +
                      static_cast<double>(i + 1) / static_cast<double>(rankings.size())) /
                     static_cast<double>(count));
        }
        ++result.contexts;
    }
    if (result.contexts < 2) throw std::runtime_error("fewer than two contexts hold data");
    for (const auto& samples : all) result.curves.push_back(summary(samples));
    return result;
}

}  // namespace atlas::engine
