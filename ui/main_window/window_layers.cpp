// SPDX-License-Identifier: Apache-2.0
// MainWindow: the layers of a run, of the mask and of the probe, and what the pointer shows.
#include <QFileInfo>
#include <QMenu>
#include <QStatusBar>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/pipeline/model_input.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {
void MainWindow::previewMask() {
    if (!image_) return;
    if (auto* old = layer("foreground")) {  // a second press takes it away
        old->visible = !old->visible;
        return applyLayers();
    }
    work_.forget(maskTask_);
    engine::RunRequest request;  // the mask is found in what the network is given
    try {
        request = requestFor(path_);
    } catch (const std::exception& error) {
        return showMessage(QString::fromUtf8(error.what()));
    }
    maskTask_ = work_.start(
        "mask", tr("Looking for the background …"),
        [this, source = image_->source(), cache = cache_, request](const std::stop_token&) {
            const auto input = engine::openModelInput(
                source, engine::loadModelConfig(request.modelDir), request.input, cache);
            const engine::ForegroundMap map = engine::findForeground(*input);
            return Background::Then([this, map] { addMaskLayer(map); });
        },
        [this](const QString& error) { showMessage(error); });
}

void MainWindow::addMaskLayer(const engine::ForegroundMap& map) {
    const auto& full = image_->info().levels[0];
    auto raster = std::make_shared<io::GridRaster>(map.width, map.height, 1);
    raster->cellWidth = static_cast<double>(full.width) / map.width;
    raster->cellHeight = static_cast<double>(full.height) / map.height;
    for (size_t i = 0; i < map.inside.size(); ++i) raster->values[i] = map.inside[i];
    OverlayLayer l;
    l.id = "foreground";
    l.title = tr("mask");
    l.kind = OverlayLayer::Kind::Classes;
    l.raster = raster;
    l.classNames = {tr("left out"), tr("classified")};
    l.colors = {QColor(40, 40, 46), QColor(86, 180, 233)};
    l.opacity = 0.45;
    l.visible = true;
    l.measureAreas({0, 0, full.width, full.height});
    layers_.push_back(l);
    applyLayers();
}

/// A cell is drawn where any context over it is left by the filter.
void MainWindow::filterPrediction() {
    auto* prediction = layer("prediction");
    if (!prediction || !allClasses_ || !loaded_) return;
    if (!contextsPanel_->filters()) {
        prediction->raster = allClasses_;
    } else {
        auto filtered = std::make_shared<io::GridRaster>(*allClasses_);
        std::fill(filtered->values.begin(), filtered->values.end(), NAN);
        const auto kept = contextsPanel_->kept();
        for (size_t i = 0; i < std::min(kept.size(), loaded_->tiles.size()); ++i) {
            if (!kept[i]) continue;
            const auto& tile = loaded_->tiles[i];
            const auto& r = *filtered;
            const auto range = [](double from, double length, double cell, int count) {
                const double slack = 0.01;  // places in tiles.csv are rounded
                return std::pair{
                    std::clamp(static_cast<int>(std::floor(from / cell + slack)), 0, count),
                    std::clamp(static_cast<int>(std::ceil((from + length) / cell - slack)), 0,
                               count)};
            };
            const auto [x0, x1] = range(tile.x - r.x, tile.width, r.cellWidth, r.width);
            const auto [y0, y1] = range(tile.y - r.y, tile.height, r.cellHeight, r.height);
            for (int y = y0; y < y1; ++y)
                for (int x = x0; x < x1; ++x) filtered->at(0, x, y) = allClasses_->at(0, x, y);
        }
        prediction->raster = filtered;
    }
    prediction->measureAreas(loaded_->region);
    applyLayers();
}

void MainWindow::goToContext(const QRectF& box) {
    canvas_->showBox(box);
    canvas_->setProbeBoxes({box});
    onHover(box.center(), true);
}

/// The layers of a run, made in a thread from those of a while ago.
void MainWindow::putLayers(const std::vector<OverlayLayer>& made) {
    layers_ = withSettingsOf(layers_, made);
    for (auto& l : layers_) retitle(l);
    applyLayers();
}

void MainWindow::applyLayers() {
    canvas_->setImageVisible(imageVisible_);
    canvas_->setLayers(layers_);
    views_->setLayers(layers_);
    layersPanel_->setLayers(layers_, imageVisible_);
    explorer_->setLayers(layers_);
    onHover(hover_, hoverInside_);
}

void MainWindow::moveLayer(const QString& id, int by) {
    for (size_t i = 0; i < layers_.size(); ++i) {
        if (layers_[i].id != id) continue;
        const size_t to = i + static_cast<size_t>(by);  // wraps below 0: too large
        if (to < layers_.size()) std::swap(layers_[i], layers_[to]);
        break;
    }
    applyLayers();
    layersPanel_->select(id);
}

OverlayLayer* MainWindow::layer(const QString& id) {
    for (auto& l : layers_)
        if (l.id == id) return &l;
    return nullptr;
}

void MainWindow::toggleLayer(const QString& id) {
    if (auto* l = layer(id)) {
        l->visible = !l->visible;
        layersPanel_->select(id);
        applyLayers();
    }
}

void MainWindow::setScale(int scale) {
    const int count = static_cast<int>(look_.tokenSidesUm.size());
    if (count == 0) return;
    bool any = false;
    for (int k = 0; k < count; ++k)
        if (auto* l = layer(QString("attention%1").arg(k))) any |= l->visible;
    scale_ = std::clamp(scale, 0, count - 1);
    for (int k = 0; k < count; ++k)
        if (auto* l = layer(QString("attention%1").arg(k))) l->visible = k == scale_ && any;
    layersPanel_->select(QString("attention%1").arg(scale_));
    applyLayers();
}

void MainWindow::stepScale(int by) {
    setScale(scale_ + by);
}

void MainWindow::changeOpacity(double by) {
    if (auto* l = layer(layersPanel_->selected())) {
        l->opacity = std::clamp(l->opacity + by, 0.0, 1.0);
        applyLayers();
    }
}

void MainWindow::retitle(OverlayLayer& l) const {
    const QString shown = l.classNames.value(l.band);
    if (l.id == "probability") l.title = tr("probability: %1").arg(shown);
    if (l.id == "mass") l.title = tr("mass on %1").arg(shown);
    for (const char* prefix : {"contribution", "gives"})
        if (l.id.startsWith(prefix))
            l.title =
                tr("adds to %1, %2")
                    .arg(shown,
                         look_.scaleTitle(l.id.mid(static_cast<int>(strlen(prefix))).toUInt()));
}

bool MainWindow::setLayer(const QString& id, const QJsonObject& changes) {
    if (id == "image") {
        ImageLook look = layersPanel_->adjuster()->look();
        for (auto& c : look.channels) {
            c.brightness =
                std::clamp(changes.value("brightness").toDouble(c.brightness), -1.0, 1.0);
            c.contrast = std::clamp(changes.value("contrast").toDouble(c.contrast), 0.25, 4.0);
            c.gamma = std::clamp(changes.value("gamma").toDouble(c.gamma), 0.25, 4.0);
        }
        const QStringList stains{"all", "hematoxylin", "eosin", "residual"};
        const auto stain = stains.indexOf(changes.value("stain").toString());
        if (stain >= 0) look.stain = static_cast<Stain>(stain);
        layersPanel_->adjuster()->setLook(look);
        canvas_->setLook(look);
        views_->grid()->setLook(look);
        imageVisible_ = changes.value("visible").toBool(imageVisible_);
        applyLayers();
        return true;
    }
    auto* l = layer(id);
    if (!l) return false;
    l->visible = changes.value("visible").toBool(l->visible);
    l->opacity = changes.value("opacity").toDouble(l->opacity);
    l->threshold = changes.value("threshold").toDouble(l->threshold);
    l->colorMap = changes.value("colorMap").toString(l->colorMap);
    const QStringList blends{"normal", "multiply", "add"};
    const auto blend = blends.indexOf(changes.value("blend").toString());
    if (blend >= 0) l->blend = static_cast<OverlayLayer::Blend>(blend);
    if (changes.contains("raw")) {
        l->raw = changes.value("raw").toBool();
        l->rescale();
    }
    if (changes.contains("move")) {
        moveLayer(id, changes.value("move").toInt());
        l = layer(id);
    }
    l->smooth = changes.value("smooth").toBool(l->smooth);
    l->invert = changes.value("invert").toBool(l->invert);
    const QJsonValue band = changes.value("band");
    if (band.isString() && l->classNames.contains(band.toString()))
        l->band = static_cast<int>(l->classNames.indexOf(band.toString()));
    if (band.isDouble()) l->band = std::clamp(band.toInt(), 0, l->raster->bands - 1);
    if (!band.isUndefined()) retitle(*l);
    layersPanel_->select(id);
    applyLayers();
    views_->setSelectedLayer(id);
    return true;
}

void MainWindow::onHover(const QPointF& point, bool inside) {
    hover_ = point;
    hoverInside_ = inside;
    pointer_ = {};
    if (inside && image_) {
        QStringList lines;
        const auto* classes = layer("prediction");
        const auto* probability = layer("probability");
        const float label = classes ? classes->valueAt(point.x(), point.y()) : NAN;
        if (!std::isnan(label)) {
            pointer_["class"] = classes->classNames.value(static_cast<int>(label));
            std::vector<std::pair<float, int>> ranked;
            int column = 0, row = 0;
            if (probability && probability->raster->cellAt(point.x(), point.y(), column, row))
                for (int b = 0; b < probability->raster->bands; ++b)
                    ranked.emplace_back(probability->raster->at(b, column, row), b);
            std::sort(ranked.rbegin(), ranked.rend());
            if (!ranked.empty()) pointer_["probability"] = ranked.front().first;
            for (size_t i = 0; i < std::min<size_t>(3, ranked.size()); ++i) {
                const auto best = static_cast<size_t>(ranked[i].second);
                const QColor color =
                    best < classes->colors.size() ? classes->colors[best] : QColor();
                lines << QString("<span style='color:%1'>■</span> %2 <b>%3 %</b>")
                             .arg(color.name(),
                                  classes->classNames.value(ranked[i].second).toHtmlEscaped())
                             .arg(100 * ranked[i].first, 0, 'f', ranked[i].first > 0.995 ? 0 : 1);
            }
            if (const auto* mass = layer("mass")) {
                QStringList shares;
                int c = 0, r = 0;
                if (mass->raster->cellAt(point.x(), point.y(), c, r))
                    for (int b = 0; b < mass->raster->bands; ++b) {
                        const float value = mass->raster->at(b, c, r);
                        if (std::isnan(value)) continue;
                        pointer_[QString("mass%1").arg(b)] = value;
                        shares << tr("%1: %2 %")
                                      .arg(mass->classNames.value(b))
                                      .arg(100 * value, 0, 'f', 0);
                    }
                if (!shares.isEmpty()) lines << tr("attention on %1").arg(shares.join(" · "));
            }
        } else if (classes) {
            lines << tr("not classified here");
        }
        inspector_->setText(lines.isEmpty() ? inspectorHint() : lines.join("<br>"));
    }
    updateStatus();
}

}  // namespace atlas::ui
