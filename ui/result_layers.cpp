// SPDX-License-Identifier: Apache-2.0
#include "ui/result_layers.h"

#include <QCoreApplication>
#include <algorithm>
#include <cmath>

#include "engine/pipeline/run_request.h"

namespace atlas::ui {
namespace {

QString tr(const char* text) {
    return QCoreApplication::translate("Layers", text);
}

std::vector<QColor> colorsOf(const std::vector<std::array<uint8_t, 3>>& colors) {
    std::vector<QColor> result;
    for (const auto& c : colors) result.emplace_back(c[0], c[1], c[2]);
    return result;
}

QStringList namesOf(const std::vector<std::string>& names) {
    QStringList result;
    for (const auto& name : names) result << QString::fromStdString(name);
    return result;
}

}  // namespace

ModelLook ModelLook::of(const engine::ModelConfig& model) {
    ModelLook look{namesOf(model.classNames), colorsOf(model.classColors), {}, model.ground,
                   namesOf(model.mapNames),   namesOf(model.massNames)};
    for (int64_t side : model.tokenSidesPx())
        look.tokenSidesUm.push_back(static_cast<double>(side) * model.spacingUmPx);
    return look;
}

ModelLook ModelLook::of(const engine::LoadedRun& run) {
    return {namesOf(run.classNames), colorsOf(run.classColors), run.tokenSidesUm, run.ground,
            namesOf(run.mapNames),   namesOf(run.massNames)};
}

QString ModelLook::scaleTitle(size_t scale) const {
    if (scale >= tokenSidesUm.size()) return QString("s%1").arg(scale);
    const QString title = QString("s%1, %2").arg(scale).arg(
        QString::fromStdString(engine::lengthText(tokenSidesUm[scale], ground)));
    const QString what = mapNames.value(static_cast<qsizetype>(scale));
    return what.isEmpty() ? title : title + ", " + what;
}

QString ModelLook::massTitle(size_t band) const {
    return massNames.isEmpty() ? scaleTitle(band) : massNames.value(static_cast<qsizetype>(band));
}

size_t ModelLook::masses() const {
    return massNames.isEmpty() ? tokenSidesUm.size() : static_cast<size_t>(massNames.size());
}

std::vector<OverlayLayer> makeLayers(const std::shared_ptr<const engine::RunLayers>& shared,
                                     const ModelLook& look, const std::vector<OverlayLayer>& before,
                                     const io::Rect& area) {
    const auto& results = *shared;
    std::vector<OverlayLayer> layers;
    const bool isNew = std::none_of(before.begin(), before.end(),
                                    [](const OverlayLayer& l) { return l.id == "prediction"; });
    const auto add = [&](const QString& id, const QString& title,
                         const io::GridRaster& raster) -> OverlayLayer& {
        OverlayLayer layer;
        const auto old = std::find_if(before.begin(), before.end(),
                                      [&](const OverlayLayer& l) { return l.id == id; });
        if (old != before.end()) layer = *old;
        layer.id = id;
        layer.title = title;
        layer.raster = {shared, &raster};
        layer.band = std::min(layer.band, raster.bands - 1);
        if (old == before.end()) layer.opacity = 0.55;
        layers.push_back(std::move(layer));
        return layers.back();
    };
    auto& prediction = add("prediction", tr("prediction"), results.classes);
    prediction.kind = OverlayLayer::Kind::Classes;
    prediction.classNames = look.classNames;
    prediction.colors = look.classColors;
    prediction.measureAreas(area);
    if (isNew) prediction.visible = true;
    auto& probability = add("probability", tr("probability"), results.probabilities);
    probability.classNames = look.classNames;
    probability.title = tr("probability: %1").arg(look.classNames.value(probability.band));
    if (isNew) probability.raw = true;
    probability.rescale();
    for (size_t k = 0; k < results.attention.size(); ++k) {
        auto& attention = add(QString("attention%1").arg(k),
                              tr("attention %1").arg(look.scaleTitle(k)), results.attention[k]);
        if (isNew) attention.colorMap = "inferno";
        attention.rescale();
    }
    if (results.hasMass()) {
        auto& mass = add("mass", {}, results.mass);
        if (isNew) mass.colorMap = "magma";
        mass.classNames.clear();
        for (size_t k = 0; k < look.masses(); ++k) mass.classNames << look.massTitle(k);
        mass.title = tr("mass on %1").arg(look.massTitle(static_cast<size_t>(mass.band)));
        if (isNew) mass.raw = true;
        mass.rescale();
    }
    if (!results.contributions.empty()) {
        auto& evidence = add("evidence", tr("what places speak for"), results.evidence);
        evidence.kind = OverlayLayer::Kind::Classes;
        evidence.classNames = look.classNames;
        evidence.colors = look.classColors;
        evidence.measureAreas(area);
    }
    for (size_t i = 0;
         i < std::min(results.contributions.size(), results.contributionScales.size()); ++i) {
        const auto scale = static_cast<size_t>(results.contributionScales[i]);
        auto& map = add(QString("contribution%1").arg(scale), {}, results.contributions[i]);
        if (isNew) {
            map.colorMap = "vik";
            const float best = results.classes.values.empty() ? NAN : results.classes.values[0];
            map.band = best >= 0 && best < static_cast<float>(map.raster->bands)
                           ? static_cast<int>(best)
                           : 0;
        }
        map.classNames = look.classNames;
        map.title =
            tr("adds to %1, %2").arg(look.classNames.value(map.band), look.scaleTitle(scale));
        map.isSigned = true;  // 0 in the middle: blue speaks against the class, red for it
        map.rescale();
    }
    return layers;
}

std::vector<OverlayLayer> withSettingsOf(const std::vector<OverlayLayer>& now,
                                         std::vector<OverlayLayer> made) {
    const auto place = [&](const OverlayLayer& l) {
        return std::find_if(now.begin(), now.end(),
                            [&](const OverlayLayer& b) { return b.id == l.id; }) -
               now.begin();
    };
    for (auto& layer : made) {
        const auto at = static_cast<size_t>(place(layer));
        if (at == now.size()) continue;
        const OverlayLayer& set = now[at];
        const bool measure = set.raw != layer.raw || set.band != layer.band;
        layer.visible = set.visible;
        layer.opacity = set.opacity;
        layer.colorMap = set.colorMap;
        layer.blend = set.blend;
        layer.threshold = set.threshold;
        layer.smooth = set.smooth;
        layer.invert = set.invert;
        layer.raw = set.raw;
        layer.band = std::clamp(set.band, 0, std::max(0, layer.raster->bands - 1));
        if (measure && layer.kind == OverlayLayer::Kind::Magnitude) layer.rescale();
    }
    for (const auto& old : now)
        if (old.id == "foreground") made.push_back(old);
    // The user's order stays; what is new comes last.
    std::stable_sort(made.begin(), made.end(),
                     [&](const auto& a, const auto& b) { return place(a) < place(b); });
    return made;
}

}  // namespace atlas::ui
