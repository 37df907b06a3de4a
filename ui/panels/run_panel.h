// SPDX-License-Identifier: Apache-2.0
// Choose a model, what to classify, and how; start, watch and cancel.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLabel>
#include <QLineEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QWidget>
#include <filesystem>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/pipeline/run_request.h"

namespace atlas::ui {

class RunPanel : public QWidget {
    Q_OBJECT

  public:
    enum class Area { Whole, View, Rectangle };

    explicit RunPanel(QWidget* parent = nullptr);

    /// Folders of models; broken ones are listed with their cause as a tooltip.
    void setModels(const std::vector<std::filesystem::path>& models);
    /// Adds it where it is none of those offered, such as cuda:1.
    void chooseDevice(const QString& device);
    bool chooseModel(const QString& nameOrFolder);
    std::filesystem::path modelDir() const;
    std::vector<std::filesystem::path> models() const;
    std::optional<engine::ModelConfig> model() const;

    /// Fills in model, overlap, device, mask, attention and the given resolution; throws
    /// std::invalid_argument for a resolution that is not understood.
    void fill(engine::RunRequest& request) const;
    Area area() const;
    void setArea(Area area);
    void setResolutionKnown(bool known, const QString& text);
    void setImageOpen(bool open);
    void showProgress(const engine::RunProgress& progress);

  Q_SIGNALS:
    void startAsked();
    void cancelAsked();
    void modelChanged();
    void maskPreviewAsked();

  private:
    void describeModel();

    QComboBox *model_, *area_, *device_, *context_;
    QDoubleSpinBox* overlap_;
    QCheckBox *mask_, *attention_;
    QLineEdit* resolution_;
    QLabel *about_, *resolutionText_, *state_;
    QPushButton *start_, *cancel_;
    QProgressBar* bar_;
    bool imageOpen_ = false;
};

/// "41 contexts/s, 2 min left" for a running job; its state and error else.
QString progressText(const engine::RunProgress& progress);

}  // namespace atlas::ui
