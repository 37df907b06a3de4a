// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/run_panel.h"

#include <QFormLayout>
#include <QVBoxLayout>
#include <cmath>

#include "engine/pipeline/model_input.h"

namespace atlas::ui {
namespace {

QString durationText(double seconds) {
    const auto total = static_cast<qint64>(std::ceil(seconds));
    if (total >= 3600) return QObject::tr("%1 h %2 min").arg(total / 3600).arg(total / 60 % 60);
    if (total >= 60) return QObject::tr("%1 min").arg((total + 30) / 60);
    return QObject::tr("%1 s").arg(total);
}

template <typename Control>
Control* named(Control* control, const char* name, const QString& accessible, const QString& tip) {
    control->setObjectName(name);
    control->setAccessibleName(accessible);
    control->setToolTip(tip);
    return control;
}

}  // namespace

QString progressText(const engine::RunProgress& p) {
    using engine::RunState;
    switch (p.state) {
        case RunState::Planning:
            return p.waitingFor.empty() ? QObject::tr("planning …")
                                        : QObject::tr("waiting for %1, which writes the same run")
                                              .arg(QString::fromStdString(p.waitingFor));
        case RunState::Running: {
            if (p.fraction >= 0) {
                QString whole = QObject::tr("%1 % of the whole area (%2)")
                                    .arg(100 * p.fraction, 0, 'f', 1)
                                    .arg(QString::fromStdString(p.bottleneck));
                if (p.secondsLeft >= 0)
                    whole += QObject::tr(", %1 left").arg(durationText(p.secondsLeft));
                return whole;
            }
            QString text = QObject::tr("%1 of %2 contexts").arg(p.done).arg(p.total);
            if (p.contextsPerSecond > 0)
                text += QObject::tr(", %1/s").arg(p.contextsPerSecond, 0, 'g', 3);
            if (p.secondsLeft >= 0 && p.contextsPerSecond > 0)
                text += QObject::tr(", %1 left").arg(durationText(p.secondsLeft));
            return text;
        }
        case RunState::Publishing:
            return QObject::tr("writing the results …");
        case RunState::Done:
            return QObject::tr("done");
        case RunState::Cancelled:
            return QObject::tr("cancelled; what is done is kept");
        case RunState::Failed:
            break;
    }
    return QObject::tr("failed: %1").arg(QString::fromStdString(p.error));
}

QString jobText(const Job& job) {
    if (job.waiting) return QObject::tr("waiting");
    const auto parts = job.ended ? job.outcome.unreadableParts : 0;
    const QString text = progressText(job.progress);
    if (parts == 0) return text;
    return parts == 1 ? QObject::tr("%1, 1 part unreadable").arg(text)
                      : QObject::tr("%1, %2 parts unreadable").arg(text).arg(parts);
}

RunPanel::RunPanel(QWidget* parent) : QWidget(parent) {
    setObjectName("run.panel");
    auto* layout = new QVBoxLayout(this);
    auto* form = new QFormLayout;
    form->setFieldGrowthPolicy(QFormLayout::AllNonFixedFieldsGrow);
    model_ = named(new QComboBox, "run.model", tr("Model"), tr("The network that classifies"));
    about_ = new QLabel;
    about_->setObjectName("run.about");
    about_->setWordWrap(true);
    about_->setMinimumHeight(2 * about_->fontMetrics().lineSpacing());
    about_->setProperty("faint", true);
    area_ = named(new QComboBox, "run.area", tr("Area"),
                  tr("What to classify; draw a rectangle with R"));
    area_->addItems({tr("whole image"), tr("what is in view"), tr("drawn rectangle")});
    context_ = named(new QComboBox, "run.context", tr("Context"),
                     tr("What the network sees at once: squares of the model's size, or the whole "
                        "area as one, with one prediction and what each place adds to it"));
    context_->addItems({tr("the model's squares"), tr("the area as one")});
    device_ = named(new QComboBox, "run.device", tr("Device"),
                    tr("auto takes a GPU where one can be used"));
    device_->addItems({"auto", "cpu", "cuda"});
    overlap_ =
        named(new NumberBox, "run.overlap", tr("Overlap"),
              tr("Share of a context's side that neighbours share; blended towards the centres"));
    overlap_->setRange(0, 75);
    overlap_->setSingleStep(25);
    overlap_->setSuffix(" %");
    overlap_->setDecimals(1);
    resolution_ = named(new QLineEdit, "run.resolution", tr("Resolution"),
                        tr("Size of a pixel where the image does not say it, e.g. 0.5um or 0.3m"));
    resolution_->setPlaceholderText(tr("e.g. 0.5um or 0.3m"));
    resolutionText_ = new QLabel;
    resolutionText_->setProperty("faint", true);
    mask_ = named(new QCheckBox(tr("leave out background")), "run.mask", tr("Mask"),
                  tr("Tissue by Otsu's threshold on slides; nodata on rasters"));
    attention_ = named(new QCheckBox(tr("attention maps of every scale")), "run.attention",
                       tr("Attention maps"), tr("Costs more time"));
    mask_->setChecked(true);
    attention_->setChecked(true);
    form->addRow(tr("Model"), model_);
    form->addRow(about_);
    form->addRow(tr("Area"), area_);
    form->addRow(tr("Context"), context_);
    form->addRow(tr("Overlap"), overlap_);
    connect(context_, &QComboBox::currentIndexChanged, this,
            [this](int index) { overlap_->setEnabled(index == 0); });
    form->addRow(tr("Pixel size"), resolution_);
    form->addRow(resolutionText_);
    buildInput(form);
    form->addRow(tr("Device"), device_);
    auto* preview = named(new QPushButton(tr("Preview")), "run.maskPreview", tr("Preview the mask"),
                          tr("Show what would be left out"));
    connect(preview, &QPushButton::clicked, this, &RunPanel::maskPreviewAsked);
    auto* maskRow = new QHBoxLayout;
    maskRow->addWidget(mask_, 1);
    maskRow->addWidget(preview);
    form->addRow(maskRow);
    form->addRow(attention_);
    layout->addLayout(form);
    auto* buttons = new QHBoxLayout;
    start_ = named(new QPushButton(tr("Run")), "run.start", tr("Start classifying"),
                   tr("Start classifying (Ctrl+R)"));
    start_->setProperty("primary", true);
    cancel_ = named(new QPushButton(tr("Cancel")), "run.cancel", tr("Cancel the run"),
                    tr("Stop; what is done is kept"));
    cancel_->setEnabled(false);
    buttons->addWidget(start_, 2);
    buttons->addWidget(cancel_, 1);
    layout->addLayout(buttons);
    bar_ = named(new QProgressBar, "run.progress", tr("Progress"), tr("Contexts done"));
    bar_->setVisible(false);
    state_ = new QLabel;
    state_->setObjectName("run.state");
    state_->setWordWrap(true);
    elsewhere_ = new QLabel;
    elsewhere_->setObjectName("run.elsewhere");
    elsewhere_->setWordWrap(true);
    elsewhere_->setProperty("faint", true);
    layout->addWidget(bar_);
    layout->addWidget(state_);
    layout->addWidget(elsewhere_);
    layout->addStretch();
    connect(start_, &QPushButton::clicked, this, &RunPanel::startAsked);
    connect(cancel_, &QPushButton::clicked, this, &RunPanel::cancelAsked);
    connect(model_, &QComboBox::currentIndexChanged, this, [this] {
        describeModel();
        Q_EMIT inputChanged();
    });
    elsewhere_->setVisible(false);
    start_->setEnabled(false);  // until an image is open
}

/// What the network is given: of itself, or bands and scaling by name.
void RunPanel::buildInput(QFormLayout* form) {
    input_ =
        named(new QComboBox, "run.input", tr("Model input"),
              tr("Bands and scaling that the network is given. The display of the image has no "
                 "part in it"));
    input_->addItems({tr("automatic"), tr("choose …")});
    bands_ = named(new QLineEdit, "run.inputBands", tr("Bands of the model input"),
                   tr("Red, green and blue: band numbers from 1, or names, e.g. 4,3,2"));
    bands_->setPlaceholderText(tr("bands: 3,2,1"));
    stretch_ = named(new QLineEdit, "run.inputStretch", tr("Scaling of the model input"),
                     tr("How values become 8 bits: none, percentile, 1-99%, minmax, or the lowest "
                        "and highest value, e.g. 0,3000"));
    stretch_->setPlaceholderText(tr("scaling: 2-98%"));
    inputRow_ = new QWidget;
    auto* row = new QHBoxLayout(inputRow_);
    row->setContentsMargins(0, 0, 0, 0);
    row->addWidget(bands_, 1);
    row->addWidget(stretch_, 1);
    inputText_ = new QLabel;
    inputText_->setObjectName("run.inputLine");
    inputText_->setWordWrap(true);
    inputText_->setProperty("faint", true);
    form->addRow(tr("Model input"), input_);
    form->addRow(inputRow_);
    form->addRow(inputText_);
    form_ = form;
    form_->setRowVisible(inputRow_, false);
    form_->setRowVisible(inputText_, false);
    connect(input_, &QComboBox::currentIndexChanged, this, [this](int index) {
        form_->setRowVisible(inputRow_, index == 1);
        Q_EMIT inputChanged();
    });
    for (auto* line : {bands_, stretch_})
        connect(line, &QLineEdit::editingFinished, this, &RunPanel::inputChanged);
}

engine::InputChoice RunPanel::inputChoice() const {
    if (input_->currentIndex() == 0) return {};
    return engine::parseInputChoice(bands_->text().toStdString(), stretch_->text().toStdString());
}

void RunPanel::setInputAutomatic() {
    input_->setCurrentIndex(0);
}

void RunPanel::showInput(const QString& line) {
    inputText_->setText(line);
    form_->setRowVisible(inputText_, !line.isEmpty());
}

void RunPanel::setModels(const std::vector<std::filesystem::path>& models) {
    model_->clear();
    for (const auto& dir : models)
        model_->addItem(QString::fromStdString(dir.filename().string()),
                        QString::fromStdString(dir.string()));
    if (models.empty())
        about_->setText(
            tr("No model is installed. Put a model folder into resources/models, or train one: "
               "atlasscope train --help"));
    describeModel();
}

bool RunPanel::chooseModel(const QString& nameOrFolder) {
    for (int i = 0; i < model_->count(); ++i)
        if (model_->itemText(i) == nameOrFolder || model_->itemData(i).toString() == nameOrFolder) {
            model_->setCurrentIndex(i);
            return true;
        }
    if (!engine::isModel(nameOrFolder.toStdString())) return false;
    model_->addItem(QString::fromStdString(
                        std::filesystem::path(nameOrFolder.toStdString()).filename().string()),
                    nameOrFolder);
    model_->setCurrentIndex(model_->count() - 1);
    return true;
}

std::vector<std::filesystem::path> RunPanel::models() const {
    std::vector<std::filesystem::path> all;
    for (int i = 0; i < model_->count(); ++i)
        all.emplace_back(model_->itemData(i).toString().toStdString());
    return all;
}

std::filesystem::path RunPanel::modelDir() const {
    return model_->currentData().toString().toStdString();
}

std::optional<engine::ModelConfig> RunPanel::model() const {
    try {
        return engine::loadModelConfig(modelDir());
    } catch (const std::exception&) {
        return std::nullopt;  // describeModel() shows the cause
    }
}

void RunPanel::describeModel() {
    if (model_->currentIndex() < 0) return;
    try {
        const auto config = engine::loadModelConfig(modelDir());
        QStringList scales;
        for (int64_t side : config.tokenSidesPx())
            scales << QString::fromStdString(
                engine::lengthText(static_cast<double>(side) * config.spacingUmPx, config.ground));
        scales.removeDuplicates();  // a stage may have two maps
        QString text =
            tr("%1 classes; sees %2 at once")
                .arg(config.classNames.size())
                .arg(QString::fromStdString(engine::lengthText(
                    static_cast<double>(config.patchSizePx) * config.spacingUmPx, config.ground)));
        if (!scales.isEmpty()) text += tr("; tokens of %1").arg(scales.join(", "));
        if (config.segmentSide > 0) text += tr("; a class for every pixel");
        about_->setText(text);
        about_->setToolTip(QString::fromStdString(config.description));
    } catch (const std::exception& error) {
        about_->setText(QString::fromUtf8(error.what()));
    }
}

void RunPanel::fill(engine::RunRequest& request) const {
    request.modelDir = modelDir();
    request.overlap = overlap_->value() / 100;
    request.wholeImage = context_->currentIndex() == 1;
    if (request.wholeImage) request.overlap = 0;
    request.device = device_->currentText().toStdString();
    request.mask = mask_->isChecked();
    request.attention = attention_->isChecked();
    request.input = inputChoice();
    const QString text = resolution_->text().trimmed();
    if (!text.isEmpty()) request.resolutionUm = engine::parseResolution(text.toStdString());
}

void RunPanel::chooseDevice(const QString& device) {
    if (device_->findText(device) < 0) device_->addItem(device);
    device_->setCurrentText(device);
}

RunPanel::Area RunPanel::area() const {
    return static_cast<Area>(area_->currentIndex());
}
void RunPanel::setArea(Area area) {
    area_->setCurrentIndex(static_cast<int>(area));
}

void RunPanel::setResolutionKnown(bool known, const QString& text) {
    resolutionText_->setText(text);
    resolution_->clear();
    resolution_->setPlaceholderText(known ? tr("from the image")
                                          : tr("needed: e.g. 0.5um or 0.3m"));
}

void RunPanel::showJob(const Job* own, const QString& elsewhere) {
    using engine::RunState;
    const bool waits = own && own->waiting;
    const RunState state = own ? own->progress.state : RunState::Done;
    const bool runs = own && !waits &&
                      (state == RunState::Planning || state == RunState::Running ||
                       state == RunState::Publishing);
    start_->setEnabled(!waits && !runs);
    cancel_->setEnabled(waits || runs || !elsewhere.isEmpty());
    bar_->setVisible(runs);
    state_->setText(own ? jobText(*own) : QString());
    elsewhere_->setText(elsewhere);
    elsewhere_->setVisible(!elsewhere.isEmpty());
    if (!runs) return;
    const auto& p = own->progress;
    bar_->setRange(0, p.total > 0 ? 1000 : 0);
    const double done = p.fraction >= 0 ? p.fraction
                        : p.total > 0   ? static_cast<double>(p.done) / static_cast<double>(p.total)
                                        : 0;
    bar_->setValue(static_cast<int>(1000 * done));
}

}  // namespace atlas::ui
