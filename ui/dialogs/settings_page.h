// SPDX-License-Identifier: Apache-2.0
// What the program keeps in memory and how it looks; each change holds at once.
#pragma once

#include <QComboBox>
#include <QDialog>
#include <QSpinBox>

namespace atlas::ui {

struct ViewerSettings {
    int tileCacheMiB = 512;  ///< decoded tiles, shared with runs
    int texturesMiB = 384;   ///< of each view, on the graphics card
    QString theme = "dark";
    bool restoreSession = false;  ///< open what was open when the program ended

    static ViewerSettings load();
    void save() const;
};

class SettingsPage : public QDialog {
    Q_OBJECT

  public:
    explicit SettingsPage(const ViewerSettings& settings, QWidget* parent = nullptr);

  Q_SIGNALS:
    void edited(atlas::ui::ViewerSettings settings);
};

}  // namespace atlas::ui
