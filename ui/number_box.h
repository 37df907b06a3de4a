// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QDoubleSpinBox>

namespace atlas::ui {

/// A spin box for decimals that shows a point, as every number of the window does, and takes a
/// comma that is typed or pasted for a point. Qt's own follows the locale: under a German one it
/// refuses the point, under an English one it takes "0,5" for 5.
class NumberBox : public QDoubleSpinBox {
  public:
    explicit NumberBox(QWidget* parent = nullptr) : QDoubleSpinBox(parent) {
        setLocale(QLocale::c());
    }

    /// Only the decimals that are there: "25", "12.5".
    QString textFromValue(double value) const override {
        QString text = QString::number(value, 'f', decimals());
        if (!text.contains('.')) return text;
        while (text.endsWith('0')) text.chop(1);
        if (text.endsWith('.')) text.chop(1);
        return text;
    }
    double valueFromText(const QString& text) const override {
        return QDoubleSpinBox::valueFromText(QString(text).replace(',', '.'));
    }

  protected:
    QValidator::State validate(QString& text, int& at) const override {
        text.replace(',', '.');
        return QDoubleSpinBox::validate(text, at);
    }
};

}  // namespace atlas::ui
