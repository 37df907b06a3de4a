// SPDX-License-Identifier: Apache-2.0
#include "ui/dialogs/doctor_page.h"

#include <QApplication>
#include <QClipboard>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QVBoxLayout>

namespace atlas::ui {

DoctorPage::DoctorPage(const DoctorLines& facts, DoctorLines selfTest, QWidget* parent)
    : QDialog(parent), selfTest_(std::move(selfTest)) {
    setObjectName("doctor.dialog");
    setWindowTitle(tr("Doctor"));
    resize(720, 460);
    auto* layout = new QVBoxLayout(this);
    table_ = new QTableWidget(0, 3);
    table_->setObjectName("doctor.table");
    table_->setAccessibleName(tr("Findings"));
    table_->setHorizontalHeaderLabels({tr("What"), tr("State"), tr("Finding")});
    table_->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    table_->horizontalHeader()->setSectionResizeMode(2, QHeaderView::Stretch);
    table_->verticalHeader()->hide();
    table_->verticalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    table_->setEditTriggers(QAbstractItemView::NoEditTriggers);
    table_->setWordWrap(true);
    layout->addWidget(table_, 1);
    auto* row = new QHBoxLayout;
    run_ = new QPushButton(tr("Self-test"));
    run_->setObjectName("doctor.test");
    run_->setToolTip(tr("Read, load every model and classify one context"));
    auto* copy = new QPushButton(tr("Copy report"));
    copy->setObjectName("doctor.copy");
    copy->setToolTip(tr("Copy all of this as text"));
    auto* close = new QPushButton(tr("Close"));
    close->setObjectName("doctor.close");
    close->setToolTip(tr("Close this page (Esc)"));
    row->addWidget(run_);
    row->addWidget(copy);
    row->addStretch();
    row->addWidget(close);
    layout->addLayout(row);
    connect(run_, &QPushButton::clicked, this, &DoctorPage::test);
    connect(copy, &QPushButton::clicked, this,
            [this] { QApplication::clipboard()->setText(report()); });
    connect(close, &QPushButton::clicked, this, &QDialog::accept);
    add("Qt", qVersion(), true);
    add(tr("platform"), QSysInfo::prettyProductName() + ", " + QApplication::platformName(), true);
    if (facts)
        for (const auto& line : facts())
            add(QString::fromStdString(line.name), QString::fromStdString(line.detail), line.good);
    run_->setEnabled(static_cast<bool>(selfTest_));
}

DoctorPage::~DoctorPage() {
    if (worker_.joinable()) worker_.join();
}

void DoctorPage::add(const QString& name, const QString& detail, bool good) {
    const int row = table_->rowCount();
    table_->insertRow(row);
    table_->setItem(row, 0, new QTableWidgetItem(name));
    table_->setItem(row, 1, new QTableWidgetItem(good ? tr("ok") : tr("FAILED")));
    table_->setItem(row, 2, new QTableWidgetItem(detail));
}

QString DoctorPage::report() const {
    QString text;
    for (int row = 0; row < table_->rowCount(); ++row)
        text += table_->item(row, 0)->text() + ": " +
                (table_->item(row, 1)->text() == tr("ok") ? QString() : tr("FAILED: ")) +
                table_->item(row, 2)->text() + "\n";
    return text;
}

void DoctorPage::test() {
    if (testing_) return;
    testing_ = true;
    run_->setEnabled(false);
    run_->setText(tr("Testing …"));
    if (worker_.joinable()) worker_.join();
    worker_ = std::jthread([this] {
        auto lines = selfTest_();
        QMetaObject::invokeMethod(
            this,
            [this, lines = std::move(lines)] {
                for (const auto& line : lines)
                    add(tr("self-test, %1").arg(QString::fromStdString(line.name)),
                        QString::fromStdString(line.detail), line.good);
                table_->scrollToBottom();
                testing_ = false;
                run_->setText(tr("Self-test"));
                run_->setEnabled(true);
            },
            Qt::QueuedConnection);
    });
}

}  // namespace atlas::ui
