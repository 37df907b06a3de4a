// SPDX-License-Identifier: Apache-2.0
// Choose a model, what to classify, and how; start, watch and cancel.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QFormLayout>
#include <QLabel>
#include <QLineEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QWidget>
#include <filesystem>
#include <vector>

#include "engine/nn/model_config.h"
#include "engine/pipeline/run_request.h"
#include "ui/number_box.h"
#include "ui/run_controller.h"

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

    /// Fills in model, overlap, device, mask, attention, the given resolution and the model input;
    /// throws std::invalid_argument for a resolution or an input that is not understood.
    void fill(engine::RunRequest& request) const;
    /// What the user says of the values that the network is given; throws like fill().
    engine::InputChoice inputChoice() const;
    void setInputAutomatic();
    /// What the network is given of the image that is open, in one line, or why it cannot be.
    void showInput(const QString& line);
    Area area() const;
    void setArea(Area area);
    void setResolutionKnown(bool known, const QString& text);
    /// The newest job of the image that is shown (nullptr: it had none), and what is done to
    /// another image meanwhile (empty: nothing).
    void showJob(const Job* own, const QString& elsewhere);

  Q_SIGNALS:
    void startAsked();
    void cancelAsked();
    /// The model or what it is to be given.
    void inputChanged();
    void maskPreviewAsked();

  private:
    void describeModel();
    void buildInput(QFormLayout* form);

    QComboBox *model_, *area_, *device_, *context_, *input_;
    NumberBox* overlap_;
    QCheckBox *mask_, *attention_;
    QLineEdit *resolution_, *bands_, *stretch_;
    QLabel* inputText_;
    QFormLayout* form_;
    QWidget* inputRow_;
    QLabel *about_, *resolutionText_, *state_, *elsewhere_;
    QPushButton *start_, *cancel_;
    QProgressBar* bar_;
};

/// "41 contexts/s, 2 min left" for a running job; its state and error else.
QString progressText(const engine::RunProgress& progress);
/// The same of a job that may wait or be over.
QString jobText(const Job& job);

}  // namespace atlas::ui
