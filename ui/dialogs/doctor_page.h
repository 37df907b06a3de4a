// SPDX-License-Identifier: Apache-2.0
// What this installation is, whether it works, and a report to copy into a question.
#pragma once

#include <QDialog>
#include <QPushButton>
#include <QTableWidget>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace atlas::ui {

struct DoctorLine {
    std::string name, detail;
    bool good = true;
};
using DoctorLines = std::function<std::vector<DoctorLine>()>;

class DoctorPage : public QDialog {
    Q_OBJECT

  public:
    /// `facts` are asked at once, `selfTest` in a thread when the button is pressed.
    DoctorPage(const DoctorLines& facts, DoctorLines selfTest, QWidget* parent);
    ~DoctorPage() override;
    /// Plain text, a line a finding.
    QString report() const;
    bool testing() const { return testing_; }

  private:
    void add(const QString& name, const QString& detail, bool good);
    void test();

    DoctorLines selfTest_;
    QTableWidget* table_;
    QPushButton* run_;
    bool testing_ = false;
    std::jthread worker_;
};

}  // namespace atlas::ui
