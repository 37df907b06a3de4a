// SPDX-License-Identifier: Apache-2.0
// The window where the user's numbers have a decimal comma: what it reads, writes and understands.
#include <gtest/gtest.h>

#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMenu>
#include <QTableView>
#include <clocale>

#include "tests/support/comma_locale.h"
#include "tests/support/window_fixture.h"
#include "ui/number_box.h"
#include "ui/panels/image_adjuster.h"

namespace atlas::ui {
namespace {

/// Without it the tests under LC_ALL=de_DE.UTF-8 would prove nothing: QApplication takes the
/// environment's locale, and fails to where the system does not have it.
TEST(ProcessLocale, IsTheOneOfTheEnvironment) {
    EXPECT_EQ(QString(std::localeconv()->decimal_point), QLocale::system().decimalPoint())
        << "LC_ALL is " << qgetenv("LC_ALL").toStdString()
        << "; installer/setup.sh deps makes de_DE.UTF-8";
}

class DecimalComma : public WindowTest {
  protected:
    void SetUp() override {
        comma_ = std::make_unique<test::CommaLocale>();
        QLocale::setDefault(QLocale(QLocale::German, QLocale::Germany));
        WindowTest::SetUp();
    }
    void TearDown() override {
        QLocale::setDefault(QLocale::system());
        window_.reset();
        comma_.reset();
    }
    std::unique_ptr<test::CommaLocale> comma_;
};

TEST_F(DecimalComma, ASlideSaysItsPixelSize) {
    ATLAS_REQUIRE_DATA(test::dataRoot() / "data/slides/CMU-1-Small-Region.svs");
    open(copyOf("slides/CMU-1-Small-Region.svs"));
    EXPECT_EQ(window_->findChild<QLineEdit*>("run.resolution")->placeholderText(),
              "from the image");
    QString texts;
    for (const auto* label : window_->runPanel()->findChildren<QLabel*>())
        texts += label->text() + "\n";
    EXPECT_TRUE(texts.contains("0.499 µm a pixel")) << texts.toStdString();
}

TEST_F(DecimalComma, ARunWithATypedPixelSizeOpensAgain) {
    open("synthetic:size=4096,seed=21");
    ASSERT_TRUE(window_->runPanel()->chooseModel("scenes"));
    auto* resolution = window_->findChild<QLineEdit*>("run.resolution");
    QTest::keyClicks(resolution, "0,4m");
    window_->startRun();
    QTest::qWait(50);
    ASSERT_TRUE(settle());
    ASSERT_EQ(values()["state"].toString(), "done") << window_->message().toStdString();
    EXPECT_FALSE(window_->message().contains("tiles.csv")) << window_->message().toStdString();
    open("synthetic:size=2048,seed=4");
    EXPECT_FALSE(values()["layers"].toObject().contains("prediction"));
    open("synthetic:size=4096,seed=21");
    EXPECT_TRUE(values()["layers"].toObject().contains("prediction"))
        << window_->message().toStdString();
    EXPECT_TRUE(window_->message().isEmpty()) << window_->message().toStdString();
    const auto runs =
        engine::findRuns(folder_.path() / "user" / "results", "synthetic:size=4096,seed=21");
    ASSERT_EQ(runs.size(), 1u);
    EXPECT_EQ(engine::loadRun(runs[0]).resolutionUm, 400000);
}

TEST_F(DecimalComma, PlacesAndAnglesAreUnderstood) {
    open("synthetic:size=4096,seed=21");
    const auto centre = [&] { return window_->canvas()->transform().centre(); };
    EXPECT_TRUE(window_->goToText("px 1200, 800.5"));
    EXPECT_NEAR(centre().x(), 1200, 1e-6);
    EXPECT_NEAR(centre().y(), 800.5, 1e-6);
    EXPECT_TRUE(window_->goToText("px 12,5"));  // a comma alone stands between two coordinates
    EXPECT_NEAR(centre().x(), 12, 1e-6);
    EXPECT_NEAR(centre().y(), 5, 1e-6);
    EXPECT_TRUE(window_->goToText("px 1200,5; 800,25"));
    EXPECT_NEAR(centre().x(), 1200.5, 1e-6);
    EXPECT_NEAR(centre().y(), 800.25, 1e-6);
    EXPECT_FALSE(window_->goToText("px 1; 2; 3"));
    EXPECT_FALSE(window_->goToText("px 1;"));
    EXPECT_TRUE(window_->views()->rotateToText("22,5°"));
    EXPECT_DOUBLE_EQ(values()["rotation"].toDouble(), 22.5);
    EXPECT_TRUE(window_->views()->rotateToText("-30.5"));
    EXPECT_FALSE(window_->views()->rotateToText("north"));
    EXPECT_TRUE(window_->message().contains("no angle"));
    auto* adjuster = window_->findChild<ImageAdjuster*>("adjust.panel");
    EXPECT_TRUE(adjuster->setVectors("0.6, 0.7, 0.3 / 0.2, 0.8, 0.5"));
    const auto pointed = adjuster->look().stains.vectors;
    EXPECT_TRUE(adjuster->setVectors("0,6 0,7 0,3 / 0,2 0,8 0,5"));
    EXPECT_EQ(adjuster->look().stains.vectors, pointed);
}

TEST_F(DecimalComma, NumberBoxesTakePointAndComma) {
    NumberBox box;
    box.setDecimals(2);
    box.setSuffix(" %");
    box.show();
    ASSERT_TRUE(QTest::qWaitForWindowExposed(&box));
    for (const char* typed : {"12,5", "12.5"}) {
        box.setValue(0);
        box.selectAll();
        QTest::keyClicks(&box, typed);
        EXPECT_DOUBLE_EQ(box.value(), 12.5) << typed;
        EXPECT_EQ(box.text(), "12.5 %");
    }
    box.setValue(30);
    EXPECT_EQ(box.text(), "30 %");
    auto* overlap = window_->findChild<QDoubleSpinBox*>("run.overlap");
    overlap->selectAll();
    QTest::keyClicks(overlap, "12,5");
    EXPECT_DOUBLE_EQ(overlap->value(), 12.5);
}

}  // namespace
}  // namespace atlas::ui
