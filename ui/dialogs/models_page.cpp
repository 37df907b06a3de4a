// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/models_page.h"

#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QJsonDocument>
#include <QJsonObject>
#include <QLocale>
#include <QMessageBox>
#include <QMimeData>
#include <QScrollArea>
#include <QSettings>
#include <QVBoxLayout>

#include "engine/pipeline/run_folder.h"
#include "engine/pipeline/run_request.h"
#include "engine/pipeline/trust.h"
#include "ui/panels/controls.h"

namespace atlas::ui {
namespace {

constexpr size_t kClassesShown = 40;
constexpr int kRecordLinesShown = 12;

QString text(const std::string& s) {
    return QString::fromStdString(s);
}

QString row(const QString& name, const QString& value) {
    return value.isEmpty() ? QString()
                           : QString(
                                 "<tr><td style=\"padding-right:12px\"><b>%1</b></td>"
                                 "<td>%2</td></tr>")
                                 .arg(name, value);
}

QString classesText(const engine::ModelConfig& config) {
    QStringList names;
    for (size_t c = 0; c < std::min(config.classNames.size(), kClassesShown); ++c) {
        const auto& rgb = config.classColors[c];
        names << QString("<span style=\"color:%1\">■</span>&nbsp;%2")
                     .arg(QColor(rgb[0], rgb[1], rgb[2]).name(),
                          text(config.classNames[c]).toHtmlEscaped().replace(' ', "&nbsp;"));
    }
    if (config.classNames.size() > kClassesShown)
        names << ModelsPage::tr("and %1 more").arg(config.classNames.size() - kClassesShown);
    return names.join(" &nbsp;");
}

/// How right it was on what, and what it was trained with; the rest of the record is in its files.
QStringList recordLines(const QJsonObject& record) {
    QStringList lines;
    const QJsonObject tried = record.value("evaluations").toObject();
    for (auto it = tried.begin(); it != tried.end(); ++it) {
        const QJsonValue right = it->toObject().value("accuracy");
        if (right.isDouble())
            lines << ModelsPage::tr("%1 % right on %2")
                         .arg(100 * right.toDouble(), 0, 'f', 1)
                         .arg(QString(it.key()).replace('_', ' ').toHtmlEscaped());
    }
    for (const char* key : {"data_fingerprint", "epochs_done"})
        if (const QString value = record.value(key).toVariant().toString(); !value.isEmpty())
            lines << QString("%1: %2").arg(QString(key).replace('_', ' '), value.toHtmlEscaped());
    return lines.mid(0, kRecordLinesShown);
}

QString checkKey(const QString& sha) {
    return "models/" + sha.left(32);
}

}  // namespace

ModelsPage::ModelsPage(const std::vector<std::filesystem::path>& models,
                       std::filesystem::path library, QWidget* parent)
    : QDialog(parent), library_(std::move(library)) {
    setObjectName("models.dialog");
    setWindowTitle(tr("Models"));
    setAcceptDrops(true);
    resize(820, 520);
    auto* layout = new QVBoxLayout(this);
    auto* hint = new QLabel(
        tr("Drop a model here to add it: a folder with a config.json (AtlasScope's own, or "
           "WSInfer's), or an .onnx file with Deepness' metadata."));
    hint->setWordWrap(true);
    hint->setProperty("faint", true);
    layout->addWidget(hint);
    auto* middle = new QHBoxLayout;
    list_ = new QListWidget;
    list_->setObjectName("models.list");
    list_->setAccessibleName(tr("Models"));
    list_->setToolTip(tr("Double-click takes a model for the next run"));
    list_->setMaximumWidth(230);
    middle->addWidget(list_);
    card_ = new QLabel;
    card_->setObjectName("models.card");
    card_->setWordWrap(true);
    card_->setAlignment(Qt::AlignTop);
    card_->setTextFormat(Qt::RichText);
    card_->setTextInteractionFlags(Qt::TextSelectableByMouse);
    card_->setMargin(10);
    auto* scroll = new QScrollArea;
    scroll->setWidget(card_);
    scroll->setWidgetResizable(true);
    middle->addWidget(scroll, 1);
    layout->addLayout(middle, 1);
    note_ = new QLabel;
    note_->setObjectName("models.note");
    note_->setWordWrap(true);
    layout->addWidget(note_);
    use_ = namedButton("models.use", tr("Use"), tr("Take this model for the next run"));
    check_ = namedButton("models.validate", tr("Validate"),
                         tr("Load it, ask it about made-up pictures, and measure its speed"));
    remove_ =
        namedButton("models.remove", tr("Remove …"), tr("Delete a model that was added here"));
    auto* file = namedButton("models.addFile", tr("Add file …"), tr("An .onnx file"));
    auto* folder = namedButton("models.addFolder", tr("Add folder …"),
                               tr("A folder with config.json and weights"));
    auto* first = new QHBoxLayout;
    for (auto* button : {use_, check_, remove_}) first->addWidget(button);
    first->addStretch();
    for (auto* button : {file, folder}) first->addWidget(button);
    layout->addLayout(first);
    other_ = new QComboBox;
    other_->setObjectName("models.other");
    other_->setAccessibleName(tr("The other model"));
    other_->setToolTip(tr("The model that the chosen one is compared with"));
    compare_ = namedButton("models.compare", tr("Compare"),
                           tr("Run both over the drawn rectangle, or what the view shows: where do "
                              "they differ?"));
    auto* close = namedButton("models.close", tr("Close"), tr("Close (Esc)"));
    auto* second = new QHBoxLayout;
    second->addWidget(new QLabel(tr("Compare on the drawn rectangle or the view with")));
    second->addWidget(other_, 1);
    second->addWidget(compare_);
    second->addStretch();
    second->addWidget(close);
    layout->addLayout(second);
    connect(list_, &QListWidget::currentRowChanged, this, &ModelsPage::showCard);
    connect(list_, &QListWidget::itemDoubleClicked, this, [this] { Q_EMIT useAsked(chosen()); });
    connect(use_, &QPushButton::clicked, this, [this] { Q_EMIT useAsked(chosen()); });
    connect(check_, &QPushButton::clicked, this, [this] {
        note_->setText(tr("Trying the model …"));
        Q_EMIT validateAsked(chosen());
    });
    connect(remove_, &QPushButton::clicked, this, &ModelsPage::removeChosen);
    connect(compare_, &QPushButton::clicked, this,
            [this] { Q_EMIT compareAsked(chosen(), other_->currentData().toString()); });
    connect(file, &QPushButton::clicked, this, [this] {
        add(QFileDialog::getOpenFileNames(this, tr("Add models"), {}, tr("ONNX (*.onnx)")));
    });
    connect(folder, &QPushButton::clicked, this, [this] {
        const QString path = QFileDialog::getExistingDirectory(this, tr("Folder of a model"));
        if (!path.isEmpty()) add({path});
    });
    connect(close, &QPushButton::clicked, this, &QDialog::accept);
    for (const auto& dir : models) put(dir);
    list_->setCurrentRow(0);
    showCard();
}

void ModelsPage::put(const std::filesystem::path& dir) {
    auto* item = new QListWidgetItem(text(dir.filename().string()), list_);
    item->setData(Qt::UserRole, text(dir.string()));
}

QStringList ModelsPage::models() const {
    QStringList all;
    for (int i = 0; i < list_->count(); ++i) all << list_->item(i)->data(Qt::UserRole).toString();
    return all;
}

QString ModelsPage::chosen() const {
    return list_->currentItem() ? list_->currentItem()->data(Qt::UserRole).toString() : QString();
}

bool ModelsPage::isOwn(const QString& model) const {
    return !library_.empty() && !model.isEmpty() &&
           std::filesystem::path(model.toStdString()).parent_path() == library_;
}

void ModelsPage::showCard() {
    const QString model = chosen();
    for (auto* button : {use_, check_}) button->setEnabled(!model.isEmpty());
    remove_->setEnabled(isOwn(model));
    other_->clear();
    for (const auto& path : models())
        if (path != model) other_->addItem(QFileInfo(path).fileName(), path);
    compare_->setEnabled(other_->count() > 0);
    if (model.isEmpty()) return card_->setText(tr("No model is here yet."));
    try {
        const auto card = engine::modelCard(model.toStdString());
        const auto& c = card.config;
        const auto length = [&](double px) {
            return text(engine::lengthText(px * c.spacingUmPx, c.ground));
        };
        const QStringList record = recordLines(
            QJsonDocument::fromJson(QByteArray::fromStdString(c.trainingRecord)).object());
        if (!hashes_.contains(model)) hash(model);
        const QString sha = hashes_.value(model);
        const QSettings seen;
        const QString found =
            sha.isEmpty() ? QString() : seen.value(checkKey(sha) + "/finding").toString();
        QStringList scales;
        for (int64_t side : c.tokenSidesPx()) scales << length(static_cast<double>(side));
        scales.removeDuplicates();
        card_->setText(
            QString("<h3>%1</h3><p>%2</p><table>")
                .arg(text(c.name).toHtmlEscaped(), text(c.description).toHtmlEscaped()) +
            row(tr("Network"), text(card.format)) +
            row(tr("Classes"), QString::number(c.classNames.size()) + ": " + classesText(c)) +
            row(tr("Sees"),
                tr("%1 at once, %2 x %2 pixels of %3%4")
                    .arg(length(static_cast<double>(c.patchSizePx)))
                    .arg(c.patchSizePx)
                    .arg(length(1), c.segmentSide > 0 ? tr("; a class for every pixel") : "")) +
            row(tr("Attention"), scales.isEmpty() ? tr("none shown") : scales.join(", ")) +
            row(tr("Trained"),
                record.isEmpty() ? tr("its files do not say") : record.join("<br>")) +
            row(tr("Licence"),
                c.licence.empty() ? tr("its files do not say") : text(c.licence).toHtmlEscaped()) +
            row(tr("Size"), QLocale().formattedDataSize(card.bytes)) +
            row(tr("SHA-256"),
                sha.isEmpty() ? tr("being computed …") : sha.left(32) + "<br>" + sha.mid(32)) +
            row(tr("Here"), found.isEmpty() ? tr("not tried yet") : found.toHtmlEscaped()) +
            row(tr("Place"), model.toHtmlEscaped()) + "</table>");
    } catch (const std::exception& error) {
        card_->setText(text(error.what()).toHtmlEscaped());
    }
}

/// The weights' hash, in the background; large files take a while.
void ModelsPage::hash(const QString& model) {
    hashes_[model] = {};
    hashers_.emplace_back([this, model](const std::stop_token& stop) {
        QString sha;
        try {
            sha = text(engine::fileSha256(engine::weightsFile(model.toStdString()), stop));
        } catch (const std::exception& error) {
            sha = QString::fromUtf8(error.what());
        }
        if (stop.stop_requested()) return;
        QMetaObject::invokeMethod(this, [this, model, sha] {
            hashes_[model] = sha;
            if (chosen() == model) showCard();
        });
    });
}

void ModelsPage::showCheck(const QString& model, const engine::ModelCheck& check) {
    const QString finding = check.good ? tr("%1; %2 s a context, %3 megapixels a second on %4")
                                             .arg(text(check.finding))
                                             .arg(check.secondsPerContext, 0, 'g', 2)
                                             .arg(check.megapixelsPerSecond, 0, 'g', 3)
                                             .arg(text(check.device).section(' ', 0, 0))
                                       : tr("does not work: %1").arg(text(check.finding));
    if (!hashes_.value(model).isEmpty())
        QSettings().setValue(checkKey(hashes_.value(model)) + "/finding", finding);
    note_->setText(QString("%1: %2").arg(QFileInfo(model).fileName(), finding));
    if (chosen() == model) showCard();
}

void ModelsPage::add(const QStringList& paths) {
    QStringList problems, added;
    for (const auto& path : paths) {
        try {
            const auto dir = engine::addModel(path.toStdString(), library_);
            if (!models().contains(text(dir.string()))) put(dir);
            added << text(dir.filename().string());
        } catch (const std::exception& error) {
            problems << QString::fromUtf8(error.what());
        }
    }
    if (!added.isEmpty()) {
        problems << tr("Added: %1").arg(added.join(", "));
        const auto found = list_->findItems(added.last(), Qt::MatchExactly);
        if (!found.isEmpty()) list_->setCurrentItem(found.last());
        Q_EMIT modelsChanged();
    }
    note_->setText(problems.join("\n"));
    showCard();
}

void ModelsPage::removeChosen() {
    const QString model = chosen();
    QMessageBox question(QMessageBox::Question, tr("Remove a model?"),
                         tr("%1 is deleted from this computer. Runs made with it stay.")
                             .arg(QFileInfo(model).fileName()),
                         QMessageBox::NoButton, this);
    question.setObjectName("models.sure");
    auto* yes = question.addButton(tr("Delete"), QMessageBox::DestructiveRole);
    yes->setObjectName("models.sureYes");
    question.setDefaultButton(question.addButton(QMessageBox::Cancel));
    question.exec();
    if (question.clickedButton() != yes) return;
    try {
        engine::removeModel(model.toStdString(), library_);
        delete list_->takeItem(list_->currentRow());
        note_->setText(tr("Removed: %1").arg(QFileInfo(model).fileName()));
        Q_EMIT modelsChanged();
    } catch (const std::exception& error) {
        note_->setText(QString::fromUtf8(error.what()));
    }
    showCard();
}

void ModelsPage::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void ModelsPage::dropEvent(QDropEvent* event) {
    QStringList paths;
    for (const auto& url : event->mimeData()->urls())
        if (url.isLocalFile()) paths << QFileInfo(url.toLocalFile()).absoluteFilePath();
    add(paths);
    event->acceptProposedAction();
}

}  // namespace atlas::ui
