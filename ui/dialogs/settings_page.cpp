// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/settings_page.h"

#include <QCheckBox>
#include <QFormLayout>
#include <QLabel>
#include <QPushButton>
#include <QSettings>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/panels/controls.h"

namespace atlas::ui {
namespace {
constexpr int kLeastMiB = 64, kMostMiB = 65536;
}

ViewerSettings ViewerSettings::load() {
    const QSettings stored;
    const ViewerSettings usual;
    ViewerSettings s;
    s.tileCacheMiB =
        std::clamp(stored.value("memory/tiles", usual.tileCacheMiB).toInt(), kLeastMiB, kMostMiB);
    s.texturesMiB =
        std::clamp(stored.value("memory/textures", usual.texturesMiB).toInt(), kLeastMiB, kMostMiB);
    s.theme = stored.value("window/theme", usual.theme).toString();
    s.restoreSession = stored.value("window/restoreSession", false).toBool();
    return s;
}

void ViewerSettings::save() const {
    QSettings stored;
    stored.setValue("memory/tiles", tileCacheMiB);
    stored.setValue("memory/textures", texturesMiB);
    stored.setValue("window/theme", theme);
    stored.setValue("window/restoreSession", restoreSession);
}

SettingsPage::SettingsPage(const ViewerSettings& settings, QWidget* parent) : QDialog(parent) {
    setObjectName("settings.dialog");
    setWindowTitle(tr("Settings"));
    auto* layout = new QVBoxLayout(this);
    auto* form = new QFormLayout;
    const auto memory = [&](const char* name, const QString& title, const QString& tip, int value) {
        auto* box = new QSpinBox;
        box->setObjectName(name);
        box->setAccessibleName(title);
        box->setToolTip(tip);
        box->setRange(kLeastMiB, kMostMiB);
        box->setSingleStep(64);
        box->setSuffix(" MiB");
        box->setValue(value);
        form->addRow(title, box);
        return box;
    };
    auto* tiles = memory("settings.tiles", tr("Decoded tiles"),
                         tr("Main memory for decoded tiles, shared by the views and runs"),
                         settings.tileCacheMiB);
    auto* textures =
        memory("settings.textures", tr("Textures of a view"),
               tr("Memory of the graphics card for tiles and layers"), settings.texturesMiB);
    auto* theme = new QComboBox;
    theme->setObjectName("settings.theme");
    theme->setToolTip(tr("Colours of the window"));
    theme->addItem(tr("dark"), "dark");
    theme->addItem(tr("light"), "light");
    theme->setCurrentIndex(std::max(0, theme->findData(settings.theme)));
    form->addRow(tr("Theme"), theme);
    auto* restore = new QCheckBox(tr("open the last session at the start"));
    restore->setObjectName("settings.restore");
    restore->setToolTip(tr("After a crash it is opened in any case"));
    restore->setChecked(settings.restoreSession);
    form->addRow(QString(), restore);
    layout->addLayout(form);
    auto* note =
        new QLabel(tr("Changes hold at once. Device, precision and memory of runs are in "
                      "the Run panel; keys in Help, Keyboard shortcuts."));
    note->setWordWrap(true);
    note->setProperty("faint", true);
    layout->addWidget(note);
    auto* close = namedButton("settings.close", tr("Close"), tr("Close (Esc)"));
    connect(close, &QPushButton::clicked, this, &QDialog::accept);
    layout->addWidget(close, 0, Qt::AlignRight);
    const auto emitAll = [this, tiles, textures, theme, restore] {
        Q_EMIT edited({tiles->value(), textures->value(), theme->currentData().toString(),
                       restore->isChecked()});
    };
    connect(tiles, &QSpinBox::valueChanged, this, emitAll);
    connect(textures, &QSpinBox::valueChanged, this, emitAll);
    connect(theme, &QComboBox::currentIndexChanged, this, emitAll);
    connect(restore, &QCheckBox::toggled, this, emitAll);
}

}  // namespace atlas::ui
