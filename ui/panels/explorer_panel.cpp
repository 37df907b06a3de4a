// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/explorer_panel.h"

#include <QFormLayout>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QPainter>
#include <QPainterPath>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/pipeline/run_request.h"
#include "ui/panels/controls.h"

namespace atlas::ui {
namespace {

constexpr int kChangesShown = 5, kRowHeight = 22;

QLabel* heading(const QString& text) {
    auto* label = new QLabel("<b>" + text + "</b>");
    label->setContentsMargins(0, 8, 0, 0);
    return label;
}

/// Never wider than the panel: long entries are cut in the closed box, not in the list.
QComboBox* combo(const char* name, const QString& tip) {
    auto* c = new QComboBox;
    c->setObjectName(name);
    c->setToolTip(tip);
    c->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    c->setMinimumContentsLength(10);
    return c;
}

QString percent(double share) {
    return QString("%1 %").arg(100 * share, 0, 'f', std::abs(share) < 0.1 ? 1 : 0);
}

}  // namespace

FaithfulnessChart::FaithfulnessChart(QWidget* parent) : QWidget(parent) {
    setObjectName("explorer.chart");
    setAccessibleName(tr("Probability against the share of places blurred"));
    setMinimumHeight(130);
}

void FaithfulnessChart::setCurve(const engine::FaithfulnessCurve& curve) {
    curve_ = curve;
    update();
}

void FaithfulnessChart::clear() {
    setCurve({});
}

void FaithfulnessChart::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    const QColor text = palette().color(QPalette::WindowText),
                 line = palette().color(QPalette::Mid);
    const QFontMetrics metrics(font());
    const QRectF plot(metrics.horizontalAdvance("100 %") + 8, 6,
                      width() - metrics.horizontalAdvance("100 %") - 18,
                      height() - 2 * metrics.height() - 14);
    painter.setPen(line);
    painter.drawRect(plot);
    painter.setPen(text);
    for (int tick : {0, 50, 100}) {
        const double y = plot.bottom() - plot.height() * tick / 100.0;
        painter.drawText(QRectF(0, y - 10, plot.left() - 4, 20), Qt::AlignRight | Qt::AlignVCenter,
                         QString("%1 %").arg(tick));
        const double x = plot.left() + plot.width() * tick / 100.0;
        painter.drawText(QRectF(x - 24, plot.bottom() + 2, 48, metrics.height()), Qt::AlignHCenter,
                         QString::number(tick));
    }
    painter.drawText(
        QRectF(plot.left(), plot.bottom() + metrics.height() + 2, plot.width(), metrics.height()),
        Qt::AlignHCenter, tr("% of the places blurred"));
    if (curve_.ranked.empty()) return;
    const auto point = [&](size_t i, double p) {
        return QPointF(plot.left() + plot.width() * static_cast<double>(i) /
                                         static_cast<double>(curve_.ranked.size() - 1),
                       plot.bottom() - plot.height() * p);
    };
    const auto path = [&](const std::vector<double>& values) {
        QPainterPath result(point(0, values[0]));
        for (size_t i = 1; i < values.size(); ++i) result.lineTo(point(i, values[i]));
        return result;
    };
    QPainterPath band = path(curve_.randomLow);
    for (size_t i = curve_.randomHigh.size(); i-- > 0;) band.lineTo(point(i, curve_.randomHigh[i]));
    band.closeSubpath();
    const QColor random(150, 150, 155), ranked(230, 159, 0);  // Okabe-Ito orange
    painter.fillPath(band, QColor(random.red(), random.green(), random.blue(), 70));
    painter.setPen(QPen(random, 1.5, Qt::DashLine));
    painter.drawPath(path(curve_.random));
    painter.setPen(QPen(ranked, 2));
    painter.drawPath(path(curve_.ranked));
    const auto key = [&](int row, const QPen& pen, const QString& name) {
        const double y = plot.top() + 4 + (row + 0.5) * metrics.height();
        const double x = plot.right() - metrics.horizontalAdvance(name) - 8;
        painter.setPen(pen);
        painter.drawLine(QPointF(x - 22, y), QPointF(x - 5, y));
        painter.setPen(text);
        painter.drawText(QPointF(x, y + metrics.ascent() / 2.0 - 1), name);
    };
    key(0, QPen(ranked, 2), tr("most first"));
    key(1, QPen(random, 1.5, Qt::DashLine), tr("random"));
}

ExplorerPanel::ExplorerPanel(QWidget* parent) : QWidget(parent) {
    setObjectName("explorer.panel");
    auto* outer = new QVBoxLayout(this);
    empty_ = new QLabel(
        tr("Run a model: then its scales can be mixed here, its attention probed, and each answer "
           "tried again without a scale or a region."));
    empty_->setWordWrap(true);
    empty_->setProperty("faint", true);
    outer->addWidget(empty_);
    all_ = new QWidget;
    auto* layout = new QVBoxLayout(all_);
    layout->setContentsMargins(0, 0, 0, 0);
    // A section a question; those that the model cannot answer are not shown.
    const auto section = [&](QWidget*& part) {
        part = new QWidget;
        auto* inside = new QVBoxLayout(part);
        inside->setContentsMargins(0, 0, 0, 0);
        layout->addWidget(part);
        return inside;
    };
    buildScales(section(scalesPart_));
    buildProbe(section(probePart_));
    buildWhatIf(layout);
    buildSaliency(layout);
    buildFlow(section(flowPart_));
    buildFaithfulness(section(faithfulnessPart_));
    outer->addWidget(all_);
    outer->addStretch();
    clearModel();
}

void ExplorerPanel::buildScales(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("Scales")));
    scales_ = new QGridLayout;
    scales_->setColumnStretch(1, 1);
    layout->addLayout(scales_);
    follow_ = new QCheckBox(tr("Scale follows the zoom"));
    follow_->setObjectName("explorer.followZoom");
    follow_->setToolTip(tr("Show the scale whose tokens are about a fingertip wide on the screen"));
    connect(follow_, &QCheckBox::toggled, this, &ExplorerPanel::followZoomChanged);
    layout->addWidget(follow_);
}

void ExplorerPanel::buildProbe(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("Probe")));
    auto* hint =
        new QLabel(tr("T, then click: what that token attends to. Shift-click adds a second one."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    auto* form = new QFormLayout;
    block_ = combo("explorer.block", tr("The block of the network whose attention is shown"));
    head_ = combo("explorer.head", tr("One attention head, or the mean of all"));
    form->addRow(tr("Block"), block_);
    form->addRow(tr("Head"), head_);
    layout->addLayout(form);
    connect(block_, &QComboBox::currentIndexChanged, this, [this](int index) {
        if (filling_ || index < 0) return;
        filling_ = true;
        const auto stage = static_cast<size_t>(std::max(0, block_->currentData().toPoint().x()));
        const int heads = stage < headsOfStage_.size() ? headsOfStage_[stage] : 0;
        head_->clear();
        head_->addItem(tr("mean of all"), -1);
        for (int h = 0; h < heads; ++h) head_->addItem(tr("head %1").arg(h + 1), h);
        filling_ = false;
        Q_EMIT whereChanged();
    });
    connect(head_, &QComboBox::currentIndexChanged, this, [this] {
        if (!filling_) Q_EMIT whereChanged();
    });
}

void ExplorerPanel::buildWhatIf(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("What if")));
    auto* hint = new QLabel(
        tr("Classifies the context under the probe (or in the middle of the view) again. "
           "Attention is no proof; this is the check beside it."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    insideAsked_ = new QWidget;
    auto* first = new QHBoxLayout(insideAsked_);
    first->setContentsMargins(0, 0, 0, 0);
    scaleOff_ =
        combo("explorer.scaleOff", tr("No other scale sees the keys of this one; pooling stays"));
    auto* off = namedButton("explorer.tryScaleOff", tr("Scale off"),
                            tr("Answer again while no other scale sees this one"));
    first->addWidget(scaleOff_, 1);
    first->addWidget(off);
    layout->addWidget(insideAsked_);
    auto* second = new QHBoxLayout;
    auto* blur = namedButton("explorer.blur", tr("Blur region"),
                             tr("Answer again with the drawn rectangle (R) or the selected "
                                "annotation (brush: B) blurred"));
    auto* mask = namedButton("explorer.mask", tr("Leave it out"),
                             tr("Answer again without the tokens in the drawn rectangle (R) or "
                                "the selected annotation"));
    auto* gives = namedButton("explorer.contributions", tr("Contributions"),
                              tr("What each place of the context adds to the score of each class"));
    second->addWidget(blur);
    second->addWidget(mask);
    layout->addLayout(second);
    change_ = new QLabel;
    change_->setObjectName("explorer.change");
    change_->setWordWrap(true);
    layout->addWidget(change_);
    changes_ = new QTableWidget(0, 4);
    changes_->setObjectName("explorer.changes");
    changes_->setAccessibleName(tr("Probabilities before and after"));
    changes_->setHorizontalHeaderLabels({tr("Class"), tr("Before"), tr("After"), tr("Change")});
    changes_->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    changes_->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
    changes_->verticalHeader()->hide();
    changes_->verticalHeader()->setDefaultSectionSize(kRowHeight);
    changes_->setVerticalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    changes_->setEditTriggers(QAbstractItemView::NoEditTriggers);
    changes_->setSelectionMode(QAbstractItemView::NoSelection);
    changes_->setVisible(false);
    layout->addWidget(changes_);
    layout->addWidget(gives);
    gives_ = gives;
    mask_ = mask;
    asking_ = {off, blur, mask, gives};
    connect(off, &QPushButton::clicked, this,
            [this] { Q_EMIT scaleOffAsked(scaleOff_->currentIndex()); });
    connect(blur, &QPushButton::clicked, this, &ExplorerPanel::blurAsked);
    connect(mask, &QPushButton::clicked, this, &ExplorerPanel::maskAsked);
    connect(gives, &QPushButton::clicked, this, &ExplorerPanel::contributionsAsked);
}

void ExplorerPanel::buildSaliency(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("Where the answer hangs")));
    auto* hint = new QLabel(
        tr("Maps that need no attention: occlusion blurs one square after another; gradients tell "
           "which pixels or features would change the score."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    saliency_ = combo("explorer.saliency", tr("How the map is made"));
    auto* show = namedButton("explorer.showSaliency", tr("Show"),
                             tr("Of the context under the probe, or in the middle of the view"));
    auto* row = new QHBoxLayout;
    row->addWidget(saliency_, 1);
    row->addWidget(show);
    layout->addLayout(row);
    asking_.push_back(show);
    connect(show, &QPushButton::clicked, this, [this] {
        Q_EMIT saliencyAsked(static_cast<engine::Saliency>(saliency_->currentData().toInt()));
    });
}

void ExplorerPanel::buildFlow(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("Flow over depth")));
    auto* hint = new QLabel(
        tr("Attention followed back from the answer through every block, across scales: which "
           "places it came from."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    auto* follow = namedButton("explorer.flow", tr("Follow back"),
                               tr("Of the context under the probe, or in the middle of the view"));
    depth_ = new QSlider(Qt::Horizontal);
    depth_->setObjectName("explorer.depth");
    depth_->setAccessibleName(tr("Depth"));
    depth_->setToolTip(tr("From the input (left) to the readout (right)"));
    depth_->setPageStep(1);
    auto* row = new QHBoxLayout;
    row->addWidget(follow);
    row->addWidget(depth_, 1);
    layout->addLayout(row);
    depthText_ = new QLabel;
    depthText_->setObjectName("explorer.depthText");
    depthText_->setWordWrap(true);
    layout->addWidget(depthText_);
    asking_.push_back(follow);
    connect(follow, &QPushButton::clicked, this, &ExplorerPanel::flowAsked);
    connect(depth_, &QSlider::valueChanged, this, [this](int depth) {
        depthText_->setText(depths_.value(depth));
        if (!filling_) Q_EMIT depthChanged(depth);
    });
    setDepths({});
}

void ExplorerPanel::setDepths(const QStringList& names) {
    filling_ = true;
    depths_ = names;
    depth_->setRange(0, std::max(0, static_cast<int>(names.size()) - 1));
    depth_->setValue(0);
    depth_->setEnabled(!names.isEmpty());
    depthText_->setText(names.value(0));
    depthText_->setVisible(!names.isEmpty());
    filling_ = false;
}

void ExplorerPanel::setDepth(int depth) {
    depth_->setValue(depth);
}

void ExplorerPanel::buildFaithfulness(QVBoxLayout* layout) {
    layout->addWidget(heading(tr("Can the maps be trusted?")));
    auto* hint = new QLabel(
        tr("Blurs the most attended places of some contexts first, and random ones beside: a map "
           "that points at what matters makes the answer fall faster."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    auto* row = new QHBoxLayout;
    measure_ =
        namedButton("explorer.measure", tr("Measure"),
                    tr("Faithfulness of every map on contexts of this run; takes a minute or so"));
    stop_ = namedButton("explorer.stop", tr("Stop"), tr("Stop measuring"));
    bar_ = new QProgressBar;
    bar_->setObjectName("explorer.progress");
    bar_->setRange(0, 100);
    row->addWidget(measure_);
    row->addWidget(bar_, 1);
    row->addWidget(stop_);
    layout->addLayout(row);
    curve_ = combo("explorer.curve", tr("Which map's curve is drawn"));
    layout->addWidget(curve_);
    chart_ = new FaithfulnessChart;
    layout->addWidget(chart_);
    verdict_ = new QLabel;
    verdict_->setObjectName("explorer.verdict");
    verdict_->setWordWrap(true);
    layout->addWidget(verdict_);
    connect(measure_, &QPushButton::clicked, this, &ExplorerPanel::faithfulnessAsked);
    connect(stop_, &QPushButton::clicked, this, &ExplorerPanel::stopAsked);
    connect(curve_, &QComboBox::currentIndexChanged, this, &ExplorerPanel::showCurve);
    showProgress(-1);
    showFaithfulness({});
}

void ExplorerPanel::setModel(const engine::ModelConfig& model) {
    filling_ = true;
    for (auto& row : rows_) {
        delete row.shown;
        delete row.opacity;
    }
    rows_.clear();
    scaleOff_->clear();
    block_->clear();
    head_->clear();
    headsOfStage_.clear();
    const auto tokens = model.tokenSidesPx();
    for (size_t k = 0; k < tokens.size(); ++k) {
        const auto size = [&](int64_t px) {
            return QString::fromStdString(
                engine::lengthText(static_cast<double>(px) * model.spacingUmPx, model.ground));
        };
        // The coarsest scale is one window over the whole context. What other networks see differs
        // from layer to layer.
        const int64_t sees =
            std::min(tokens[k] * model.network.windowSide, std::max(model.patchSizePx, tokens[k]));
        auto* shown = new QCheckBox(
            model.isAtlas() ? tr("s%1: %2 tokens, sees %3").arg(k).arg(size(tokens[k]), size(sees))
                            : tr("s%1: places of %2").arg(k).arg(size(tokens[k])));
        shown->setObjectName(QString("explorer.scale%1").arg(k));
        shown->setToolTip(tr("Show the attention of this scale (H; , and . for the next one)"));
        auto* opacity = new QSlider(Qt::Horizontal);
        opacity->setObjectName(QString("explorer.opacity%1").arg(k));
        opacity->setAccessibleName(tr("Opacity of scale %1").arg(k));
        opacity->setToolTip(tr("How much of this scale is mixed in"));
        opacity->setRange(0, 100);
        opacity->setMinimumWidth(40);
        scales_->addWidget(shown, static_cast<int>(k), 0);
        scales_->addWidget(opacity, static_cast<int>(k), 1);
        rows_.push_back({shown, opacity});
        const auto emitEdit = [this, k, shown, opacity] {
            if (!filling_)
                Q_EMIT scaleEdited(static_cast<int>(k), shown->isChecked(),
                                   opacity->value() / 100.0);
        };
        connect(shown, &QCheckBox::toggled, this, emitEdit);
        connect(opacity, &QSlider::valueChanged, this, emitEdit);
        scaleOff_->addItem(tr("without s%1, %2").arg(k).arg(size(tokens[k])));
    }
    saliency_->clear();
    const auto offer = [this](const QString& name, engine::Saliency kind) {
        saliency_->addItem(name, static_cast<int>(kind));
    };
    offer(tr("occlusion"), engine::Saliency::Occlusion);
    if (!model.isAtlas() && model.architecture != engine::kOnnx)
        offer(tr("input gradient"), engine::Saliency::InputGradient);
    if (model.architecture == engine::kTorchScript)
        offer(tr("Grad-CAM of the last feature map"), engine::Saliency::GradCam);
    for (size_t s = 0; model.isAtlas() && s < model.network.stages.size(); ++s) {
        headsOfStage_.push_back(static_cast<int>(model.network.stages[s].heads));
        for (int64_t b = 0; b < model.network.stages[s].depth; ++b)
            block_->addItem(tr("stage %1, block %2, s%3 up").arg(s + 1).arg(b + 1).arg(s),
                            QPoint(static_cast<int>(s), static_cast<int>(b)));
    }
    if (!headsOfStage_.empty()) {
        block_->setCurrentIndex(static_cast<int>(model.network.stages[0].depth) - 1);
        head_->addItem(tr("mean of all"), -1);
        for (int h = 0; h < headsOfStage_[0]; ++h) head_->addItem(tr("head %1").arg(h + 1), h);
    }
    for (QWidget* w : {static_cast<QWidget*>(block_), static_cast<QWidget*>(head_),
                       static_cast<QWidget*>(scaleOff_)})
        w->setEnabled(model.isAtlas());
    probePart_->setVisible(!tokens.empty());
    for (auto* w : {flowPart_, insideAsked_, gives_, mask_}) w->setVisible(model.isAtlas());
    for (auto* w : {scalesPart_, faithfulnessPart_}) w->setVisible(!tokens.empty());
    filling_ = false;
    empty_->setVisible(false);
    all_->setVisible(true);
}

void ExplorerPanel::clearModel() {
    all_->setVisible(false);
    empty_->setVisible(true);
    clearAnswers();
    showFaithfulness({});
}

void ExplorerPanel::clearAnswers() {
    changes_->setVisible(false);
    change_->clear();
    setDepths({});
}

void ExplorerPanel::setLayers(const std::vector<OverlayLayer>& layers) {
    filling_ = true;
    for (size_t k = 0; k < rows_.size(); ++k) {
        const QString id = QString("attention%1").arg(k);
        const auto found = std::find_if(layers.begin(), layers.end(),
                                        [&](const OverlayLayer& l) { return l.id == id; });
        rows_[k].shown->setEnabled(found != layers.end());
        rows_[k].opacity->setEnabled(found != layers.end());
        if (found == layers.end()) continue;
        rows_[k].shown->setChecked(found->visible);
        rows_[k].opacity->setValue(static_cast<int>(std::lround(100 * found->opacity)));
    }
    filling_ = false;
}

engine::ProbeWhere ExplorerPanel::where() const {
    engine::ProbeWhere where;
    if (block_->currentIndex() < 0) return where;
    const QPoint at = block_->currentData().toPoint();
    where.stage = at.x();
    where.block = at.y();
    where.head = head_->currentData().toInt();
    return where;
}

bool ExplorerPanel::followsZoom() const {
    return follow_->isChecked();
}

void ExplorerPanel::showWhatIf(const engine::WhatIfResult& result, const QStringList& classNames) {
    change_->setText(tr("With %1:").arg(QString::fromStdString(result.change)));
    if (result.after.empty()) {
        change_->setText(
            tr("%1: nothing is left of the context.").arg(QString::fromStdString(result.change)));
        changes_->setVisible(false);
        return;
    }
    std::vector<size_t> order(result.before.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::max(result.before[a], result.after[a]) >
               std::max(result.before[b], result.after[b]);
    });
    const int rows = std::min(kChangesShown, static_cast<int>(order.size()));
    changes_->setRowCount(rows);
    for (int row = 0; row < rows; ++row) {
        const size_t c = order[static_cast<size_t>(row)];
        const double before = result.before[c], after = result.after[c];
        const double points = std::round(1000 * (after - before)) / 10;
        const QStringList cells{classNames.value(static_cast<int>(c)), percent(before),
                                percent(after),
                                QString(points > 0 ? "+%1" : "%1").arg(points, 0, 'f', 1)};
        for (int column = 0; column < 4; ++column) {
            auto* item = new QTableWidgetItem(cells[column]);
            if (column > 0) item->setTextAlignment(Qt::AlignRight | Qt::AlignVCenter);
            changes_->setItem(row, column, item);
        }
    }
    changes_->setFixedHeight(changes_->horizontalHeader()->sizeHint().height() + rows * kRowHeight +
                             2 * changes_->frameWidth());
    changes_->setVisible(true);
}

void ExplorerPanel::showFaithfulness(const engine::FaithfulnessResult& result) {
    faithfulness_ = result;
    curve_->clear();
    for (const auto& curve : result.curves)
        curve_->addItem(curve.map == "attention" ? tr("attention s%1").arg(curve.scale)
                                                 : tr("contributions s%1").arg(curve.scale));
    const bool any = !result.curves.empty();
    curve_->setVisible(any);
    chart_->setVisible(any);
    verdict_->setVisible(any);
    showCurve(any ? 0 : -1);
}

void ExplorerPanel::showCurve(int index) {
    if (index < 0 || static_cast<size_t>(index) >= faithfulness_.curves.size()) {
        chart_->clear();
        verdict_->clear();
        return;
    }
    const auto& curve = faithfulness_.curves[static_cast<size_t>(index)];
    chart_->setCurve(curve);
    const QString interval = tr("%1 points (95 % interval %2 to %3) below random, %4 contexts")
                                 .arg(100 * curve.gain, 0, 'f', 1)
                                 .arg(100 * curve.gainLow, 0, 'f', 1)
                                 .arg(100 * curve.gainHigh, 0, 'f', 1)
                                 .arg(faithfulness_.contexts);
    verdict_->setText(
        curve.betterThanRandom()
            ? tr("<b>Better than random</b>: %1").arg(interval)
            : tr("<b>No better than random</b> for this model here: %1").arg(interval));
}

void ExplorerPanel::showProgress(double done) {
    bar_->setVisible(done >= 0);
    stop_->setVisible(done >= 0);
    measure_->setEnabled(done < 0);
    if (done >= 0) bar_->setValue(static_cast<int>(100 * done));
}

void ExplorerPanel::setBusy(bool busy) {
    for (auto* b : asking_) b->setEnabled(!busy);
    measure_->setEnabled(!busy);
}

}  // namespace atlas::ui
