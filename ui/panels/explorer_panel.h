// SPDX-License-Identifier: Apache-2.0
// The attention explorer: which scale is shown, where in the network the probe looks, what changes
// without a scale or a region, and whether the maps can be trusted. Only emits signals.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QGridLayout>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QSlider>
#include <QTableWidget>
#include <QWidget>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/pipeline/explain.h"
#include "ui/viewer/overlay_layer.h"

namespace atlas::ui {

/// Curves of one map: probability against the share of places blurred, ranked and random.
class FaithfulnessChart : public QWidget {
  public:
    explicit FaithfulnessChart(QWidget* parent = nullptr);
    void setCurve(const engine::FaithfulnessCurve& curve);
    void clear();
    QSize sizeHint() const override { return {240, 130}; }

  protected:
    void paintEvent(QPaintEvent* event) override;

  private:
    engine::FaithfulnessCurve curve_;
};

class ExplorerPanel : public QWidget {
    Q_OBJECT

  public:
    explicit ExplorerPanel(QWidget* parent = nullptr);

    /// The network of the run that is shown; scales, blocks and heads follow from it.
    void setModel(const engine::ModelConfig& model);
    void clearModel();
    /// What was asked of one place or one run; what was measured of the model stays.
    void clearAnswers();
    /// Ticks and sliders follow the layers "attention0", "attention1" ...
    void setLayers(const std::vector<OverlayLayer>& layers);
    /// `scale` of the result is not set here.
    engine::ProbeWhere where() const;
    bool followsZoom() const;

    void showWhatIf(const engine::WhatIfResult& result, const QStringList& classNames);
    void showFaithfulness(const engine::FaithfulnessResult& result);
    /// Depths of the slider, the input first; empty: none is known.
    void setDepths(const QStringList& names);
    void setDepth(int depth);
    void showProgress(double done);  ///< of faithfulness; below 0: none is measured
    void setBusy(bool busy);
    QString verdict() const { return verdict_->text(); }

  Q_SIGNALS:
    void scaleEdited(int scale, bool visible, double opacity);
    void followZoomChanged(bool on);
    void whereChanged();
    void scaleOffAsked(int scale);
    void blurAsked();
    void maskAsked();
    void contributionsAsked();
    void saliencyAsked(atlas::engine::Saliency kind);
    void flowAsked();
    void depthChanged(int depth);
    void faithfulnessAsked();
    void stopAsked();

  private:
    struct ScaleRow {
        QCheckBox* shown;
        QSlider* opacity;
    };
    void buildScales(class QVBoxLayout* layout);
    void buildProbe(class QVBoxLayout* layout);
    void buildWhatIf(class QVBoxLayout* layout);
    void buildSaliency(class QVBoxLayout* layout);
    void buildFlow(class QVBoxLayout* layout);
    void buildFaithfulness(class QVBoxLayout* layout);
    void showCurve(int index);

    QLabel* empty_;
    QWidget* all_;
    QWidget *scalesPart_, *probePart_, *flowPart_, *faithfulnessPart_;
    QWidget *insideAsked_, *gives_, *mask_;  ///< of Atlas alone
    QGridLayout* scales_;
    std::vector<ScaleRow> rows_;
    QCheckBox* follow_;
    QComboBox *block_, *head_, *scaleOff_, *curve_, *saliency_;
    QLabel *change_, *verdict_;
    QTableWidget* changes_;
    QSlider* depth_;
    QLabel* depthText_;
    QStringList depths_;
    QProgressBar* bar_;
    QPushButton *measure_, *stop_;
    std::vector<QPushButton*> asking_;
    FaithfulnessChart* chart_;
    engine::FaithfulnessResult faithfulness_;
    std::vector<int> headsOfStage_;
    bool filling_ = false;
};

}  // namespace atlas::ui
