// SPDX-License-Identifier: Apache-2.0
// MainWindow: questions to the network about one place, and their answers as layers.
#include <QJsonArray>
#include <QStatusBar>
#include <algorithm>
#include <cmath>

#include "engine/pipeline/model_input.h"
#include "ui/main_window/main_window.h"

namespace atlas::ui {
namespace {
constexpr double kComfortableTokenPx = 28;  // on the screen, where the scale follows the zoom

/// The cells with any weight; level-0 pixels.
QRectF seenBox(const io::GridRaster& map) {
    int x0 = map.width, x1 = -1, y0 = map.height, y1 = -1;
    for (int y = 0; y < map.height; ++y)
        for (int x = 0; x < map.width; ++x) {
            if (!(map.at(0, x, y) > 0)) continue;
            x0 = std::min(x0, x);
            x1 = std::max(x1, x);
            y0 = std::min(y0, y);
            y1 = std::max(y1, y);
        }
    if (x1 < x0) return {};
    return {map.x + x0 * map.cellWidth, map.y + y0 * map.cellHeight, (x1 - x0 + 1) * map.cellWidth,
            (y1 - y0 + 1) * map.cellHeight};
}

}  // namespace

void MainWindow::connectExplorer() {
    connect(runs_, &RunController::questionFailed, this, &MainWindow::showMessage);
    connect(runs_, &RunController::askingChanged, this, [this] {
        explorer_->setBusy(runs_->asking());
        if (!runs_->asking()) {
            explorer_->showProgress(-1);
            statusBar()->clearMessage();
        }
    });
    connect(explorer_, &ExplorerPanel::scaleEdited, this,
            [this](int scale, bool visible, double opacity) {
                if (auto* l = layer(QString("attention%1").arg(scale))) {
                    l->visible = visible;
                    l->opacity = opacity;
                    if (visible) scale_ = scale;
                    applyLayers();
                }
            });
    connect(explorer_, &ExplorerPanel::followZoomChanged, this, &MainWindow::followZoom);
    connect(canvas_, &Canvas::viewChanged, this, &MainWindow::followZoom);
    connect(explorer_, &ExplorerPanel::whereChanged, this, [this] {
        if (probed_ && !runs_->asking()) probe(*probed_);
    });
    connect(explorer_, &ExplorerPanel::scaleOffAsked, this, [this](int scale) {
        whatIf({engine::WhatIf::Change::ScaleOff, scale, {}, {}});
    });
    connect(explorer_, &ExplorerPanel::blurAsked, this, [this] {
        whatIf({engine::WhatIf::Change::Blur, 0, {}, {}});
    });
    connect(explorer_, &ExplorerPanel::maskAsked, this, [this] {
        whatIf({engine::WhatIf::Change::MaskTokens, 0, {}, {}});
    });
    connect(explorer_, &ExplorerPanel::contributionsAsked, this, &MainWindow::contributions);
    connect(explorer_, &ExplorerPanel::saliencyAsked, this, &MainWindow::saliency);
    connect(explorer_, &ExplorerPanel::flowAsked, this, &MainWindow::flow);
    connect(explorer_, &ExplorerPanel::depthChanged, this, &MainWindow::showFlow);
    connect(explorer_, &ExplorerPanel::faithfulnessAsked, this, [this] { faithfulness(); });
    connect(explorer_, &ExplorerPanel::stopAsked, this, [this] { runs_->stopAsking(); });
}

/// Keeps what was measured while the model stays the same.
void MainWindow::setExplorerModel(const std::filesystem::path& modelDir) {
    const QString key = QString::fromStdString(modelDir.string());
    if (key == explorerModel_) return;
    explorer_->clearModel();
    flow_ = {};
    explorerModel_ = key;
    try {
        explorer_->setModel(engine::loadModelConfig(modelDir));
    } catch (const std::exception&) {
        explorerModel_.clear();  // the model is gone: its layers are there, questions are not
    }
}

QString MainWindow::inspectorHint() {
    return tr("Classes and attention under the pointer will be here after a run.");
}

/// Of the run that was shown, whose network it asked.
void MainWindow::forgetProbe() {
    probed_.reset();
    probeValues_ = {};
    probeLines_.clear();
    probeBoxes_.clear();
    firstBoxes_ = 0;
    canvas_->setProbeBoxes({});
    inspector_->setText(inspectorHint());
}

void MainWindow::followZoom() {
    if (!explorer_->followsZoom() || look_.tokenSidesUm.empty() || !image_) return;
    const double um = shownRequest_.resolutionUm.value_or(
        image_->info().resolution ? image_->info().resolution->umPerPixelX : 0);
    if (!(um > 0)) return;
    int best = 0;
    double least = 1e300;
    for (size_t k = 0; k < look_.tokenSidesUm.size(); ++k) {
        const double onScreen = look_.tokenSidesUm[k] / um * canvas_->transform().scale();
        const double gap = std::abs(std::log(onScreen / kComfortableTokenPx));
        if (gap < least) {
            least = gap;
            best = static_cast<int>(k);
        }
    }
    const auto* shown = layer(QString("attention%1").arg(best));
    if (!shown || (best == scale_ && shown->visible)) return;
    for (size_t k = 0; k < look_.tokenSidesUm.size(); ++k)
        if (auto* l = layer(QString("attention%1").arg(k)))
            l->visible = static_cast<int>(k) == best;
    scale_ = best;
    applyLayers();
}

QPointF MainWindow::explorePoint() const {
    return probed_ ? *probed_ : canvas_->transform().centre();
}

bool MainWindow::canAsk() {
    if (image_ && hasShownRequest_) return true;
    showMessage(tr("Run a model first: this asks its network."));
    return false;
}

void MainWindow::askAbout(const QString& words, AskImage work) {
    const int number =
        runs_->ask(shownRequest_,
                   [this, source = image_->source(), cache = cache_, request = shownRequest_,
                    asked = subject(),
                    work = std::move(work)](const engine::Classifier& network,
                                            const std::stop_token& stop) -> RunController::Answer {
                       const auto input =
                           engine::openModelInput(source, network.config(), request.input, cache);
                       const auto answer = work(*input, network, request, stop);
                       return [this, asked, answer] {
                           if (asked == subject()) answer();
                       };
                   });
    if (number == 0) return;
    question_ = number;
    statusBar()->showMessage(words);
}

void MainWindow::probe(const QPointF& point, bool second) {
    if (!image_ || !hasShownRequest_) {
        showMessage(tr("Run a model first: the probe shows what its network attended to."));
        return;
    }
    if (!second) probed_ = point;
    engine::ProbeWhere where = explorer_->where();
    where.scale = std::max(scale_, std::max(0, where.stage));  // later stages lack the fine scales
    askAbout(tr("Asking the network …"),
             [this, where, point, second](const auto& image, const auto& network,
                                          const auto& request, const std::stop_token&) {
                 const auto result = std::make_shared<engine::ProbeResult>(
                     engine::probeAt(image, network, request, where, point.x(), point.y()));
                 return [this, result, second] { showProbe(*result, second); };
             });
}

void MainWindow::showProbe(const engine::ProbeResult& result, bool second) {
    const QString prefix = second ? "probeB" : "probe";
    std::erase_if(layers_, [&](const OverlayLayer& l) {
        return second ? l.id.startsWith("probeB") : l.id.startsWith("probe");
    });
    if (!second) {
        probeValues_ = {};
        probeBoxes_.clear();
        probeLines_.clear();
    }
    if (!second) firstBoxes_ = 0;
    probeBoxes_.resize(std::min(probeBoxes_.size(), firstBoxes_));
    probeBoxes_.push_back(
        {result.contextX, result.contextY, result.contextWidth, result.contextHeight});
    probeBoxes_.push_back(
        {result.token.x, result.token.y, result.token.cellWidth, result.token.cellHeight});
    for (const auto& map : result.scales) {  // what it can see at each scale, one in the other
        const QRectF seen = seenBox(map);
        if (!seen.isEmpty()) probeBoxes_.push_back(seen);
    }
    if (!second) firstBoxes_ = probeBoxes_.size();
    QStringList lines;
    for (size_t k = 0; k < result.scales.size(); ++k) {
        const auto& map = result.scales[k];
        probeValues_[QString(second ? "b_mass%1" : "mass%1").arg(k)] = result.mass[k];
        if (map.width == 0) continue;
        OverlayLayer l;
        l.id = QString("%1%2").arg(prefix).arg(k);
        l.title = tr(second ? "probe B: attention on %1" : "probe: attention on %1")
                      .arg(look_.scaleTitle(k));
        l.raster = std::make_shared<io::GridRaster>(map);
        l.colorMap = second ? "viridis" : "inferno";
        l.low = 0;
        l.high = *std::max_element(map.values.begin(), map.values.end());
        l.threshold = l.high / 200;
        l.opacity = 0.75;
        l.visible = !second && (static_cast<int>(k) == scale_ || result.mass[k] > 0.999);
        layers_.push_back(l);
        lines << tr("%1: %2 %").arg(look_.scaleTitle(k)).arg(100 * result.mass[k], 0, 'f', 0);
    }
    canvas_->setProbeBoxes(probeBoxes_);
    applyLayers();
    explorerValues_["boxes"] = static_cast<int>(probeBoxes_.size());
    probeLines_ << (second ? tr("Probe B attends to<br>%1")
                           : tr("The probed token attends to<br>%1"))
                       .arg(lines.join("<br>"));
    inspector_->setText(probeLines_.join("<br>"));
}

void MainWindow::whatIf(engine::WhatIf change) {
    if (!canAsk()) return;
    if (change.change != engine::WhatIf::Change::ScaleOff && change.region.width == 0 &&
        !chooseRegion(change))
        return;
    QPointF point = explorePoint();
    if (change.region.width > 0 && !probed_)
        point = {
            static_cast<double>(change.region.x) + static_cast<double>(change.region.width) / 2,
            static_cast<double>(change.region.y) + static_cast<double>(change.region.height) / 2};
    askAbout(tr("Classifying again …"),
             [this, change, point](const auto& image, const auto& network, const auto& request,
                                   const std::stop_token&) {
                 const auto result = std::make_shared<engine::WhatIfResult>(
                     engine::whatIf(image, network, request, change, point.x(), point.y()));
                 return [this, result] {
                     explorer_->showWhatIf(*result, look_.classNames);
                     canvas_->setProbeBoxes({{result->context.x, result->context.y,
                                              result->context.width, result->context.height}});
                     QJsonArray before, after;
                     for (float p : result->before) before.append(p);
                     for (float p : result->after) after.append(p);
                     explorerValues_["change"] = QString::fromStdString(result->change);
                     explorerValues_["before"] = before;
                     explorerValues_["after"] = after;
                 };
             });
}

/// The drawn rectangle or the selected annotation, whichever came last.
bool MainWindow::chooseRegion(engine::WhatIf& change) {
    QRect box = canvas_->region().toAlignedRect();
    const Annotation* shape = annotations_->find(annotations_->selected());
    if (shape && !shape->hasArea()) shape = nullptr;
    if (box.isEmpty() || (shape && !regionIsNewest_)) {
        if (!shape) {
            showMessage(
                tr("Draw a rectangle (R), or select an annotation (B paints one): it is "
                   "what will be blurred or left out."));
            return false;
        }
        box = shape->bounds().toAlignedRect();
        const auto add = [&](const QPolygonF& ring) {
            change.outline.emplace_back();
            for (const auto& p : ring) change.outline.back().push_back({p.x(), p.y()});
        };
        add(shape->outline());
        for (const auto& hole : shape->holes) add(hole);
    }
    change.region = {box.x(), box.y(), box.width(), box.height()};
    return true;
}

void MainWindow::flow() {
    if (!canAsk()) return;
    const QPointF point = explorePoint();
    askAbout(tr("Following attention back …"), [this, point](const auto& image, const auto& network,
                                                             const auto& request,
                                                             const std::stop_token&) {
        const auto result = std::make_shared<engine::FlowResult>(
            engine::flowAt(image, network, request, point.x(), point.y()));
        return [this, result] {
            flow_ = *result;
            QStringList names;
            for (const auto& depth : flow_.depths)
                names << (depth.stage < 0 ? tr("at the input: all on the finest scale")
                          : &depth == &flow_.depths.back() ? tr("at the readout: every token alike")
                                                           : tr("before stage %1, block %2")
                                                                 .arg(depth.stage + 1)
                                                                 .arg(depth.block + 1));
            explorer_->setDepths(names);
            canvas_->setProbeBoxes(
                {{flow_.context.x, flow_.context.y, flow_.context.width, flow_.context.height}});
            showFlow(0);
        };
    });
}

void MainWindow::showFlow(int depth) {
    if (depth < 0 || static_cast<size_t>(depth) >= flow_.depths.size()) return;
    const auto& now = flow_.depths[static_cast<size_t>(depth)];
    std::vector<OverlayLayer> before;
    for (const auto& l : layers_)
        if (l.id.startsWith("flow")) before.push_back(l);
    std::erase_if(layers_, [](const OverlayLayer& l) { return l.id.startsWith("flow"); });
    explorerValues_["depth"] = depth;
    double all = 0;
    bool first = true;
    for (size_t k = 0; k < now.scales.size(); ++k) {
        const auto& map = now.scales[k];
        if (map.width == 0) continue;
        OverlayLayer l;
        l.id = QString("flow%1").arg(k);
        const auto old = std::find_if(before.begin(), before.end(),
                                      [&](const OverlayLayer& b) { return b.id == l.id; });
        if (old != before.end()) {
            l = *old;
        } else {
            l.colorMap = "magma";
            l.opacity = 0.7;
            l.visible = first;
        }
        double share = 0;
        for (float v : map.values)
            if (!std::isnan(v)) share += v;
        all += share;
        explorerValues_[QString("flow%1").arg(k)] = share;
        l.title = tr("flow %1 (%2 %)").arg(look_.scaleTitle(k)).arg(100 * share, 0, 'f', 0);
        l.raster = std::make_shared<io::GridRaster>(map);
        l.rescale();
        layers_.push_back(l);
        first = false;
    }
    explorerValues_["flow"] = all;
    applyLayers();
}

void MainWindow::contributions() {
    if (!canAsk()) return;
    const QPointF point = explorePoint();
    askAbout(tr("Asking the network …"),
             [this, point](const auto& image, const auto& network, const auto& request,
                           const std::stop_token&) {
                 const auto result = std::make_shared<engine::ContributionResult>(
                     engine::contributionsAt(image, network, request, point.x(), point.y()));
                 return [this, result] { showContributions(*result); };
             });
}

void MainWindow::saliency(engine::Saliency kind) {
    if (!canAsk()) return;
    const QPointF point = explorePoint();
    askAbout(tr("Asking the network …"),
             [this, point, kind](const auto& image, const auto& network, const auto& request,
                                 const std::stop_token&) {
                 const auto result = std::make_shared<engine::SaliencyResult>(
                     engine::saliencyAt(image, network, request, kind, -1, point.x(), point.y()));
                 return [this, result] { showSaliency(*result); };
             });
}

void MainWindow::showSaliency(const engine::SaliencyResult& result) {
    std::erase_if(layers_, [](const OverlayLayer& l) { return l.id == "saliency"; });
    OverlayLayer l;
    l.id = "saliency";
    l.raster = std::make_shared<io::GridRaster>(result.map);
    l.title = tr("%1: %2").arg(QString::fromStdString(result.method),
                               look_.classNames.value(result.label));
    l.isSigned = result.method == "occlusion";
    l.colorMap = l.isSigned ? "vik" : "inferno";
    l.smooth = !l.isSigned;
    l.rescale();
    l.opacity = 0.7;
    l.visible = true;
    layers_.push_back(l);
    explorerValues_["saliency"] = l.title;
    layersPanel_->select(l.id);
    applyLayers();
}

void MainWindow::showContributions(const engine::ContributionResult& result) {
    std::erase_if(layers_, [](const OverlayLayer& l) { return l.id.startsWith("gives"); });
    const auto best = static_cast<int>(
        std::max_element(result.probabilities.begin(), result.probabilities.end()) -
        result.probabilities.begin());
    QStringList lines;
    for (size_t i = 0; i < result.maps.size(); ++i) {
        const auto scale = static_cast<size_t>(result.scales[i]);
        OverlayLayer l;
        l.id = QString("gives%1").arg(scale);
        l.raster = std::make_shared<io::GridRaster>(result.maps[i]);
        l.classNames = look_.classNames;
        l.band = best;
        l.title = tr("adds to %1, %2").arg(look_.classNames.value(best), look_.scaleTitle(scale));
        l.colorMap = "vik";
        l.isSigned = true;
        l.rescale();
        l.opacity = 0.7;
        l.visible = true;
        layers_.push_back(l);
        double sum = 0;
        for (int y = 0; y < l.raster->height; ++y)
            for (int x = 0; x < l.raster->width; ++x) {
                const float v = l.raster->at(best, x, y);
                if (!std::isnan(v)) sum += v;
            }
        lines << tr("%1: %2").arg(look_.scaleTitle(scale)).arg(sum, 0, 'f', 2);
    }
    const auto b = static_cast<size_t>(best);
    explorerValues_["logit"] = result.logits[b];
    explorerValues_["baseline"] = result.baseline[b];
    canvas_->setProbeBoxes(
        {{result.context.x, result.context.y, result.context.width, result.context.height}});
    layersPanel_->select("gives0");
    applyLayers();
    inspector_->setText(
        tr("<b>%1</b>, score %2 = baseline %3 + %4<br>(only the scales that the head "
           "reads have contributions)")
            .arg(look_.classNames.value(best).toHtmlEscaped())
            .arg(result.logits[b], 0, 'f', 2)
            .arg(result.baseline[b], 0, 'f', 2)
            .arg(lines.join(" + ")));
}

void MainWindow::faithfulness(const engine::FaithfulnessOptions& options) {
    if (!canAsk()) return;
    explorer_->showProgress(0);
    askAbout(tr("Measuring …"),
             [this, options, asked = subject()](const auto& image, const auto& network,
                                                const auto& request, const std::stop_token& stop) {
                 const auto progress = [this, asked](double done) {
                     QMetaObject::invokeMethod(
                         this,
                         [this, done, asked] {
                             if (asked == subject() && runs_->asking())
                                 explorer_->showProgress(done);
                         },
                         Qt::QueuedConnection);
                 };
                 const auto result = std::make_shared<engine::FaithfulnessResult>(
                     engine::faithfulness(image, network, request, options, stop, progress));
                 return [this, result] { showFaithfulness(*result); };
             });
    if (!runs_->asking()) explorer_->showProgress(-1);
}

void MainWindow::showFaithfulness(const engine::FaithfulnessResult& result) {
    if (result.curves.empty()) {
        showMessage(tr("Stopped: faithfulness was not measured to the end."));
        return;
    }
    explorer_->showFaithfulness(result);
    for (const auto& curve : result.curves) {
        const QString name =
            QString("%1%2").arg(QString::fromStdString(curve.map)).arg(curve.scale);
        explorerValues_[name] = QJsonObject{{"gain", curve.gain},
                                            {"low", curve.gainLow},
                                            {"high", curve.gainHigh},
                                            {"better", curve.betterThanRandom()}};
        if (curve.map != "attention") continue;
        if (auto* l = layer(QString("attention%1").arg(curve.scale))) {
            l->title = tr("attention %1").arg(look_.scaleTitle(static_cast<size_t>(curve.scale)));
            if (!curve.betterThanRandom()) l->title += tr(" · like random");
        }
    }
    applyLayers();
}

}  // namespace atlas::ui
