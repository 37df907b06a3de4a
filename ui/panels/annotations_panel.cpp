// SPDX-License-Identifier: Apache-2.0
#include "ui/panels/annotations_panel.h"

#include <QColorDialog>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QVBoxLayout>

#include "ui/panels/controls.h"

namespace atlas::ui {
namespace {

/// Okabe-Ito, for classes that come without a colour.
const QColor kPalette[] = {{230, 159, 0}, {86, 180, 233}, {0, 158, 115},  {240, 228, 66},
                           {0, 114, 178}, {213, 94, 0},   {204, 121, 167}};

QPixmap swatch(const QColor& color) {
    QPixmap map(14, 14);
    map.fill(color);
    return map;
}

}  // namespace

AnnotationsPanel::AnnotationsPanel(AnnotationStore* store, MeasureText measure, QWidget* parent)
    : QWidget(parent), store_(store), measure_(std::move(measure)) {
    setObjectName("annotations.panel");
    auto* layout = new QVBoxLayout(this);
    auto* form = new QFormLayout;
    class_ = new QComboBox;
    class_->setObjectName("annotations.class");
    class_->setEditable(true);
    class_->setInsertPolicy(QComboBox::NoInsert);
    class_->setToolTip(
        tr("Class of the selected annotation and of those drawn next; type a new one and Return"));
    color_ = namedButton("annotations.color", tr("Colour …"), tr("Another colour for this class"));
    auto* row = new QHBoxLayout;
    row->addWidget(class_, 1);
    row->addWidget(color_);
    form->addRow(tr("Class"), row);
    layout->addLayout(form);
    list_ = new QListWidget;
    list_->setObjectName("annotations.list");
    list_->setAccessibleName(tr("Annotations"));
    list_->setToolTip(tr("Click to select, double click to go there, Del deletes"));
    layout->addWidget(list_, 1);
    empty_ = new QLabel(
        tr("Draw on the image: P polygon (click its corners, or drag), O ellipse, L line, X point, "
           "B brush; A keeps the rectangle. All is saved as you draw."));
    empty_->setWordWrap(true);
    empty_->setProperty("faint", true);
    layout->addWidget(empty_);
    auto* details = new QFormLayout;
    name_ = new QLineEdit;
    name_->setObjectName("annotations.name");
    name_->setToolTip(tr("Name of the selected annotation"));
    note_ = new QLineEdit;
    note_->setObjectName("annotations.note");
    note_->setToolTip(tr("A note on the selected annotation"));
    details->addRow(tr("Name"), name_);
    details->addRow(tr("Note"), note_);
    size_ = new QLabel;
    size_->setObjectName("annotations.size");
    details->addRow(tr("Size"), size_);
    layout->addLayout(details);
    auto* buttons = new QHBoxLayout;
    remove_ = namedButton("annotations.remove", tr("Delete"), tr("Delete the selected one (Del)"));
    auto* load =
        namedButton("annotations.import", tr("Import …"), tr("Add annotations from GeoJSON"));
    auto* save =
        namedButton("annotations.export", tr("Export …"), tr("Save all as GeoJSON for QuPath"));
    for (auto* b : {remove_, load, save}) buttons->addWidget(b);
    layout->addLayout(buttons);
    connect(store_, &AnnotationStore::changed, this, &AnnotationsPanel::refresh);
    connect(store_, &AnnotationStore::selectionChanged, this, &AnnotationsPanel::showSelected);
    connect(list_, &QListWidget::currentItemChanged, this, [this](QListWidgetItem* item) {
        if (!filling_ && item) store_->select(item->data(Qt::UserRole).toUuid());
    });
    connect(list_, &QListWidget::itemDoubleClicked, this, [this](QListWidgetItem* item) {
        if (const auto* a = store_->find(item->data(Qt::UserRole).toUuid()))
            Q_EMIT goToAsked(a->bounds());
    });
    connect(class_, &QComboBox::textActivated, this, &AnnotationsPanel::chooseClass);
    connect(class_->lineEdit(), &QLineEdit::returnPressed, this,
            [this] { chooseClass(class_->currentText().trimmed()); });
    connect(color_, &QPushButton::clicked, this, [this] {
        const QString name = class_->currentText().trimmed();
        if (name.isEmpty()) return;
        const QColor color =
            QColorDialog::getColor(store_->set().classColors.value(name), this, tr("Colour"));
        if (color.isValid()) store_->setClass(name, color);
    });
    connect(name_, &QLineEdit::editingFinished, this,
            [this] { edit([this](Annotation& a) { a.name = name_->text(); }); });
    connect(note_, &QLineEdit::editingFinished, this,
            [this] { edit([this](Annotation& a) { a.note = note_->text(); }); });
    connect(remove_, &QPushButton::clicked, this, [this] { store_->remove(store_->selected()); });
    connect(load, &QPushButton::clicked, this, &AnnotationsPanel::importAsked);
    connect(save, &QPushButton::clicked, this, &AnnotationsPanel::exportAsked);
    refresh();
}

void AnnotationsPanel::offerClasses(const QStringList& names, const std::vector<QColor>& colors) {
    offered_.clear();
    const auto count = std::min<qsizetype>(names.size(), static_cast<qsizetype>(colors.size()));
    for (qsizetype i = 0; i < count; ++i) offered_[names[i]] = colors[static_cast<size_t>(i)];
    fillClasses();
}

void AnnotationsPanel::fillClasses() {
    filling_ = true;
    const QString now = class_->currentText();
    class_->clear();
    class_->addItem(QString());
    const auto& used = store_->set().classColors;
    for (auto it = used.begin(); it != used.end(); ++it)
        class_->addItem(swatch(it.value()), it.key());
    for (auto it = offered_.begin(); it != offered_.end(); ++it)
        if (!used.contains(it.key())) class_->addItem(swatch(it.value()), it.key());
    class_->setCurrentText(now);
    filling_ = false;
}

void AnnotationsPanel::chooseClass(const QString& name) {
    if (filling_) return;
    if (!name.isEmpty() && !store_->set().classColors.contains(name)) {
        const auto count = static_cast<size_t>(store_->set().classColors.size());
        store_->setClass(name, offered_.value(name, kPalette[count % std::size(kPalette)]));
    }
    class_->setCurrentText(name);
    Q_EMIT classChosen(name);
    edit([&](Annotation& a) { a.className = name; });
}

void AnnotationsPanel::edit(const std::function<void(Annotation&)>& change) {
    if (filling_) return;
    if (const auto* selected = store_->find(store_->selected())) {
        Annotation copy = *selected;
        change(copy);
        store_->replace(copy);
    }
}

void AnnotationsPanel::refresh() {
    filling_ = true;
    list_->clear();
    for (const auto& a : store_->all()) {
        QString text = a.name.isEmpty() ? shapeName(a.shape) : a.name;
        if (!a.className.isEmpty()) text = a.className + ": " + text;
        auto* item = new QListWidgetItem(swatch(store_->colorOf(a)), text);
        item->setData(Qt::UserRole, a.id);
        list_->addItem(item);
    }
    empty_->setVisible(store_->all().empty());
    filling_ = false;
    fillClasses();
    showSelected();
}

void AnnotationsPanel::showSelected() {
    filling_ = true;
    const auto* a = store_->find(store_->selected());
    for (auto* w : {static_cast<QWidget*>(name_), static_cast<QWidget*>(note_),
                    static_cast<QWidget*>(remove_)})
        w->setEnabled(a != nullptr);
    name_->setText(a ? a->name : QString());
    note_->setText(a ? a->note : QString());
    size_->setText(a ? measure_(*a) : QString());
    list_->setCurrentItem(nullptr);
    for (int i = 0; a && i < list_->count(); ++i)
        if (list_->item(i)->data(Qt::UserRole).toUuid() == a->id) list_->setCurrentRow(i);
    if (a) class_->setCurrentText(a->className);
    filling_ = false;
}

}  // namespace atlas::ui
