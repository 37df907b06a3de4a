// SPDX-License-Identifier: Apache-2.0
#include "ui/theme.h"

#include <QApplication>
#include <QPalette>
#include <QProxyStyle>

// The icons lie in a static library, whose resources the linker would drop. Outside of namespaces,
// as the macro asks.
static void keepIcons() {
    Q_INIT_RESOURCE(icons);
}

namespace atlas::ui {
namespace {

struct Shades {
    const char *window, *base, *raised, *line, *text, *faint, *accent, *onAccent;
};
constexpr Shades kDark{"#2b2c2e", "#232426", "#38393c", "#47494d",
                       "#e6e6e6", "#a6a8ab", "#4ea1d3", "#10202b"};
constexpr Shades kLight{"#f0f0f0", "#ffffff", "#e2e3e4", "#c2c4c6",
                        "#1e1f21", "#5c5f63", "#0b6fa8", "#ffffff"};

QPalette paletteOf(const Shades& s) {
    QPalette p;
    p.setColor(QPalette::Window, s.window);
    p.setColor(QPalette::Base, s.base);
    p.setColor(QPalette::AlternateBase, s.window);
    p.setColor(QPalette::Button, s.raised);
    p.setColor(QPalette::ToolTipBase, s.raised);
    for (auto role :
         {QPalette::WindowText, QPalette::Text, QPalette::ButtonText, QPalette::ToolTipText})
        p.setColor(role, s.text);
    p.setColor(QPalette::PlaceholderText, s.faint);
    for (auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText})
        p.setColor(QPalette::Disabled, role, s.faint);
    p.setColor(QPalette::Highlight, s.accent);
    p.setColor(QPalette::HighlightedText, s.onAccent);
    p.setColor(QPalette::Link, s.accent);
    return p;
}

/// Fusion, but disabled menu entries have no shadow, which looks like text printed twice.
class PlainStyle : public QProxyStyle {
  public:
    PlainStyle() : QProxyStyle("Fusion") {}
    int styleHint(StyleHint hint, const QStyleOption* option, const QWidget* widget,
                  QStyleHintReturn* answer) const override {
        return hint == SH_EtchDisabledText ? 0
                                           : QProxyStyle::styleHint(hint, option, widget, answer);
    }
};

}  // namespace

void applyTheme(QApplication& app, const QString& name) {
    keepIcons();
    const Shades& s = name == "light" ? kLight : kDark;
    app.setStyle(new PlainStyle);
    app.setPalette(paletteOf(s));
    app.setStyleSheet(
        QString(R"(
        QMainWindow::separator { background: %4; width: 1px; height: 1px; }
        QDockWidget { titlebar-close-icon: none; titlebar-normal-icon: none; }
        QDockWidget::title { background: %1; padding: 6px 8px; }
        QToolBar { background: %1; border: none; border-bottom: 1px solid %4; spacing: 4px; padding: 4px; }
        QToolButton { padding: 4px 8px; border-radius: 3px; }
        QToolButton:checked, QToolButton:hover { background: %3; }
        QPushButton { padding: 5px 12px; border: 1px solid %4; border-radius: 3px; background: %3; }
        QPushButton:hover { border-color: %6; }
        QPushButton[primary="true"] { background: %6; color: %7; border-color: %6; font-weight: bold; }
        QPushButton:disabled { background: %1; color: %8; border-color: %4; }
        QListWidget, QTreeWidget, QTableWidget, QComboBox, QLineEdit { border: 1px solid %4; border-radius: 3px; background: %2; color: %5; padding: 2px; }
        QListWidget::indicator, QCheckBox::indicator { width: 13px; height: 13px; border: 1px solid %8; border-radius: 2px; background: %2; }
        QListWidget::indicator:checked, QCheckBox::indicator:checked { background: %6; border-color: %6; image: url(%9); }
        QListWidget::item { padding: 2px; }
        QListWidget::item:selected { background: %3; color: %5; }
        QProgressBar { border: 1px solid %4; border-radius: 3px; text-align: center; background: %2; min-height: 16px; }
        QProgressBar::chunk { background: %6; }
        QStatusBar { border-top: 1px solid %4; }
        QLabel[faint="true"] { color: %8; }
        QFrame[message="true"] { background: %3; border: none; border-left: 4px solid %6; }
    )")
            .arg(s.window, s.base, s.raised, s.line, s.text, s.accent, s.onAccent, s.faint,
                 name == "light" ? ":/icons/check-light.png" : ":/icons/check-dark.png"));
}

}  // namespace atlas::ui
